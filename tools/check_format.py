#!/usr/bin/env python3
"""Checks that the sources are as clang-format leaves them.

Usage: check_format.py CLANG_FORMAT   (version 14; others format differently)
"""
import subprocess
import sys

from headers import ROOT, finish


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sources = sorted(str(path.relative_to(ROOT)) for folder in ('include', 'tests', 'examples', 'bench')
                     for path in (ROOT / folder).rglob('*.[ch]pp'))
    result = subprocess.run([sys.argv[1], '--dry-run', *sources], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=True)
    wrong = sorted({line.split(':')[0] for line in result.stderr.splitlines() if 'clang-format-violations' in line})
    finish([f'{path} is not formatted: run clang-format-14 -i {path}' for path in wrong], f'{len(sources)} files are formatted.')


main()
