#!/usr/bin/env python3
"""Makes the files of single_include/ from include/.

  dtm/dtm.hpp, dtm/http.hpp     all in two headers; the second includes the first
  dtm/barrier/postgres_barrier.hpp and the like   what needs the driver of a database, as it is on top of dtm.hpp
  compiled/dtm/..., compiled/*.cpp   the same, to be compiled once: declarations and templates, and the files that hold the rest

Usage: amalgamate.py [--check]      --check only compares with the files that are there
The same sources give the same bytes: no date, version control or path of this machine goes in.
"""
import hashlib
import os
import re
import sys
from itertools import groupby

from headers import INCLUDE_LINE, ROOT, all_headers, finish, includes, reachable, read, room
from split_header import Splitter, masked, opened

OUTPUTS = ['dtm/dtm.hpp', 'dtm/http.hpp']
EXTRAS = ['dtm/http/tls.hpp', 'dtm/httplib.hpp']  # what needs another library; both include those two
# What no umbrella includes: for a database whose driver the program chooses, and the session of another client library.
DRIVERS = [header for header in all_headers() if not room(header).startswith('testing') and
           header not in {name for umbrella in OUTPUTS + EXTRAS for name in reachable(umbrella)}]
# Files that a program includes beside these, with what they need of other libraries: inline in the compiled form too.
BESIDE = {
    'dtm/dtm.hpp': [header for header in all_headers() if room(header).startswith('testing')] + DRIVERS,
    'dtm/http.hpp': [header for header in all_headers() if header in (
        'dtm/http/httplib/branch_service.hpp', 'dtm/http/httplib/mount.hpp', 'dtm/http/tls.hpp', 'dtm/httplib.hpp')],
}
BEGIN = re.compile(r'^\s*#\s*if')
END = re.compile(r'^\s*#\s*endif')
LICENSE = '/// MIT License, copyright (c) dtm for C++ authors.'

# Rooms whose names are for programs, beside what dtm.hpp includes.
PUBLIC = ['barrier', 'client', 'core', 'http']
# Classes that the public ones only point to, so that a program which includes them need not know what they are.
OPAQUE = ['Driver']
# Standard headers that cost time, and the names of theirs that we use: left out where only definitions use them.
COSTLY = {
    'algorithm': r'std::(min|max|sort|find\w*|any_of|all_of|equal|replace|remove\w*|count\w*|\w+_bound)\b|\(std::(min|max)\)',
    'atomic': r'std::atomic', 'charconv': r'std::(from|to)_chars', 'cmath': r'std::(ldexp|pow|isfinite|isnan)',
    'condition_variable': r'std::condition_variable', 'deque': r'std::deque', 'future': r'std::(promise|\w*future)',
    'list': r'std::list', 'map': r'std::(multi)?map', 'mutex': r'std::(\w*mutex|\w+_lock|lock_guard|call_once)',
    'set': r'std::set', 'thread': r'std::(thread|this_thread)', 'unordered_map': r'std::unordered_map',
}


def include_block(text, outside, wanted=lambda name: True):
    """The lines of a header that go into a file of many: without what is there already (`outside`, which grows)."""
    body, depth = [], 0
    for line in text.splitlines():
        depth += bool(BEGIN.match(line)) - bool(END.match(line))
        include = INCLUDE_LINE.match(line)
        if line.strip() == '#pragma once':
            continue
        if include and include.group(2).startswith('dtm/'):
            continue
        if include and depth == 0:  # under an #if it may not take effect, so it neither counts nor goes
            if include.group(2) in outside or not wanted(include.group(2)):
                continue
            outside.add(include.group(2))
        if line == '' and body and body[-1] == '':
            continue
        body.append(line)
    while body and body[-1] == '':
        body.pop()
    return body


def mark(header):
    return ['', f'// ---- {header} ' + '-' * max(1, 90 - len(header)), '']


def amalgamate(umbrella, others):
    """`others`: outputs that come before this one; what they contain is included from them, not copied."""
    elsewhere = {header: other for other in reversed(others) for header in reachable(other)}
    lines = [f'/// Generated from include/{umbrella} by tools/amalgamate.py; do not edit.', LICENSE, '#pragma once']
    order = reachable(umbrella)
    for other in others:
        if any(elsewhere.get(header) == other for header in order):
            lines += ['', f'#include "{os.path.relpath(other, os.path.dirname(umbrella))}"']
    outside = set()  # includes of std and third parties that are there already
    for header in order:
        if header not in elsewhere:
            lines += mark(header) + include_block(read(header), outside)
    return '\n'.join(lines) + '\n'


class Half:
    """A header as it is split."""

    def __init__(self, header):
        splitter = Splitter(read(header))
        self.header = header
        self.declarations = splitter.split()
        self.definitions = splitter.definitions
        self.members = splitter.members
        self.names = splitter.names  # (inner namespace or '', name)
        self.near = set(reachable(header)) - {header}
        self.declared_words = words_of(self.declarations) - splitter.members - set(OPAQUE)
        self.words = words_of(read(header))


def words_of(text):
    return set(re.findall(r'\w+', re.sub(r'^\s*#.*$', '', masked(text), flags=re.M)))


def needed(roots, halves, words):
    """`roots` and the headers whose names `words(half)` of them has, and so on."""
    found, todo = set(roots), list(roots)
    while todo:
        half = halves[todo.pop()]
        for near in half.near - found:
            if any(name in words(half) and (not inner or inner in words(half)) for inner, name in halves[near].names):
                found.add(near)
                todo.append(near)
    return found


def compiled(umbrella, before, halves):
    """(umbrella, its header and its .cpp, the headers it declares); `before`: those of the umbrella that it includes."""
    order = reachable(umbrella)
    own = [header for header in order if not before or header not in reachable(before[0])]
    name = umbrella.split('/')[-1][:-len('.hpp')]
    # What a program names: what dtm.hpp includes, and what lies in http/ itself.
    beside = BESIDE[umbrella]
    own = [header for header in own if header not in beside]
    roots = [h for h in own if room(h) in PUBLIC or h == 'dtm/coordinator/parts/wake_fd.hpp' or
             (not before and h in [name for _, _, name in includes(umbrella)])]
    words = lambda half: half.words - half.members if half.header in beside else half.declared_words
    shown = needed(roots + beside, halves, words) - set(beside) - (before[1] if before else set())

    body, outside = [], set()
    for header in order:
        if header in shown:
            text = halves[header].declarations
            bare = re.sub(r'^\s*#.*$', '', masked(text), flags=re.M)
            body += mark(header) + include_block(
                text, outside, lambda name: name not in COSTLY or re.search(COSTLY[name], bare))
    digest = hashlib.sha256('\n'.join(body).encode()).hexdigest()[:12]
    version = re.search(r'kVersion = "([\d.]+)"', read('dtm/base/version.hpp')).group(1).replace('.', '_')
    linked = f'{name}_cpp_of_version_{version}_{digest}'
    head = [f'/// Generated from include/{umbrella} by tools/amalgamate.py; do not edit. Declarations and templates: the rest is in',
            f'/// {name}.cpp, which is compiled once (CMake: dtm::compiled{"_" + name if before else ""}).', LICENSE, '#pragma once', '']
    if before:
        head += [f'#include "{before[0].split("/")[-1]}"', '']
    else:
        head += ['#include <nlohmann/json.hpp>', '']
    kept = ['', 'namespace dtm {', 'inline namespace v1 {', 'namespace compiled {']
    if not before:
        head += ['namespace dtm {', 'inline namespace v1 {', *(f'class {opaque};' for opaque in OPAQUE), '}  // namespace v1',
                 '}  // namespace dtm']
        kept += ['#ifdef _GLIBCXX_DEBUG', 'inline constexpr bool kStdDebug = true;', '#else',
                 'inline constexpr bool kStdDebug = false;', '#endif',
                 '/// What the layout of our classes depends on.',
                 'template <int json_major, int json_minor, int json_patch, bool std_debug>', 'struct With {};',
                 'using Here = With<NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH, kStdDebug>;']
    kept += [f'/// The linker does not find it: what is linked is not the {name}.cpp of this header, or was compiled with another',
             '/// nlohmann/json or with other flags.',
             f'void {linked}(Here);',
             f'[[gnu::used]] static void (*const k_{name}_cpp)(Here) = &{linked};',
             '}  // namespace compiled', '}  // namespace v1', '}  // namespace dtm']
    header_text = '\n'.join(head + body + kept) + '\n'

    everything = lambda half: half.words
    hidden = needed(own, halves, everything) - shown - (before[1] if before else set()) - {umbrella, *beside}
    source = [f'/// Generated from include/{umbrella} by tools/amalgamate.py; do not edit. Compile it once, with the options of the program.',
              LICENSE, f'#include "dtm/{name}.hpp"']
    outside = set()
    for header in order:
        if header in hidden:
            source += mark(header) + include_block(read(header), outside)
    for header in order:
        if header in shown:
            includes_only = '\n'.join(line for line in read(header).splitlines() if INCLUDE_LINE.match(line))
            block = include_block(includes_only, outside)
            for namespaces, group in groupby(halves[header].definitions, lambda definition: definition.namespaces):
                block += opened(namespaces, [definition.text for definition in group])
            if block:
                source += mark(header) + block
    source += opened(['namespace dtm', 'inline namespace v1', 'namespace compiled'], [f'void {linked}(Here) {{}}'])
    return header_text, '\n'.join(source), shown | (before[1] if before else set())


def beside_header(header, umbrella):
    """A header that stays as it is, on top of the umbrella."""
    lines = [f'/// Generated from include/{header} by tools/amalgamate.py; do not edit.', LICENSE, '#pragma once', '']
    others = [umbrella] + [name for _, _, name in includes(header) if name in BESIDE[umbrella]]
    lines += [f'#include "{os.path.relpath(name, os.path.dirname(header))}"' for name in others]
    return '\n'.join(lines + mark(header) + include_block(read(header), set())) + '\n'


def outputs():
    """(path under single_include, text) of all."""
    for index, output in enumerate(OUTPUTS):
        yield output, amalgamate(output, OUTPUTS[:index])
    for output in EXTRAS:
        yield output, amalgamate(output, OUTPUTS)
    for header in DRIVERS:
        yield header, beside_header(header, OUTPUTS[0])
    halves = {header: Half(header) for header in
              {header for umbrella in OUTPUTS for root in [umbrella, *BESIDE[umbrella]] for header in reachable(root)}}
    before = ()
    for output in OUTPUTS:
        header, source, shown = compiled(output, before, halves)
        before = (output, shown)
        yield 'compiled/' + output, header
        yield 'compiled/' + output.split('/')[-1].replace('.hpp', '.cpp'), source
        for beside in BESIDE[output]:
            yield 'compiled/' + beside, beside_header(beside, output)


def main():
    if sys.argv[1:] not in ([], ['--check']):
        sys.exit(__doc__)
    missing = [output for output in OUTPUTS + EXTRAS if output not in all_headers()]
    if missing:
        sys.exit(f'include/{missing[0]} does not exist, so there is nothing to make a single header from.')
    problems = []
    old = {path for path in (ROOT / 'single_include').rglob('*') if path.is_file()}
    for output, text in outputs():
        path = ROOT / 'single_include' / output
        old.discard(path)
        if '--check' not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        elif not path.exists() or path.read_bytes() != text.encode():
            problems.append(f'single_include/{output} is not what include/ gives: run tools/amalgamate.py and commit the result.')
    for path in sorted(old):  # of a header that is gone
        if '--check' in sys.argv:
            problems.append(f'{path.relative_to(ROOT)} is of no header: run tools/amalgamate.py and commit the result.')
        else:
            path.unlink()
    finish(problems, 'single_include/ is up to date.')


main()
