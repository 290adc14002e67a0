#!/usr/bin/env python3
"""Makes single_include/dtm/dtm.hpp, dtm/http.hpp (which includes the first) and dtm/http/tls.hpp (which includes both) from include/.

Usage: amalgamate.py [--check]      --check only compares with the files that are there
The same sources give the same bytes: no date, version control or path of this machine goes in.
"""
import os
import re
import sys

from headers import INCLUDE_LINE, ROOT, all_headers, finish, reachable, read

OUTPUTS = ['dtm/dtm.hpp', 'dtm/http.hpp', 'dtm/http/tls.hpp']
BEGIN = re.compile(r'^\s*#\s*if')
END = re.compile(r'^\s*#\s*endif')


def amalgamate(umbrella, others):
    """`others`: outputs that come before this one; what they contain is included from them, not copied."""
    elsewhere = {header: other for other in others for header in reachable(other)}
    lines = [f'/// Generated from include/{umbrella} by tools/amalgamate.py; do not edit.',
             '/// MIT License, copyright (c) dtm for C++ authors.',
             '#pragma once']
    order = reachable(umbrella)
    for other in others:
        if any(elsewhere.get(header) == other for header in order):
            lines += ['', f'#include "{os.path.relpath(other, os.path.dirname(umbrella))}"']
    outside = set()  # includes of std and third parties that are there already
    for header in order:
        if header in elsewhere:
            continue
        body, depth = [], 0
        for line in read(header).splitlines():
            depth += bool(BEGIN.match(line)) - bool(END.match(line))
            include = INCLUDE_LINE.match(line)
            if line.strip() == '#pragma once':
                continue
            if include and include.group(2).startswith('dtm/'):
                continue
            if include and depth == 0:  # under an #if it may not take effect, so it neither counts nor goes
                if include.group(2) in outside:
                    continue
                outside.add(include.group(2))
            if line == '' and body and body[-1] == '':
                continue
            body.append(line)
        lines += ['', f'// ---- {header} ' + '-' * max(1, 90 - len(header)), ''] + body
        while lines[-1] == '':
            lines.pop()
    return '\n'.join(lines) + '\n'


def main():
    if sys.argv[1:] not in ([], ['--check']):
        sys.exit(__doc__)
    missing = [output for output in OUTPUTS if output not in all_headers()]
    if missing:
        sys.exit(f'include/{missing[0]} does not exist, so there is nothing to make a single header from.')
    problems = []
    for index, output in enumerate(OUTPUTS):
        text = amalgamate(output, OUTPUTS[:index]).encode()
        path = ROOT / 'single_include' / output
        if '--check' not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        elif not path.exists() or path.read_bytes() != text:
            problems.append(f'single_include/{output} is not what include/ gives: run tools/amalgamate.py and commit the result.')
    finish(problems, 'single_include/ is up to date.')


main()
