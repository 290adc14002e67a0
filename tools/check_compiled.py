#!/usr/bin/env python3
"""Checks that a program which includes the compiled form of dtm holds none of what the library holds, and that it does not
link with a library that was made of other headers.

Usage: check_compiled.py BUILD_DIRECTORY LIBRARY   (a static library: dtm::compiled)
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from headers import ROOT, compile_command, finish

PROGRAM = ROOT / 'tests/packaging/embedded.cpp'


def symbols(path, kinds):
    """What nm lists as one of `kinds`, of our namespace."""
    out = subprocess.run(['nm', '-C', str(path)], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    found = re.findall(r'^[0-9a-f ]{16} (\w) (.*)$', out, re.M)
    return {name for kind, name in found if kind in kinds and re.match(r'(vtable for |typeinfo (name )?for )?dtm::', name)}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    command = [word for word in compile_command(sys.argv[1], 'odr') if word != f'-I{ROOT}/include']
    problems = []
    with tempfile.TemporaryDirectory() as work:
        program = Path(work) / 'program.o'
        subprocess.run([*command, f'-I{ROOT}/single_include/compiled', '-c', str(PROGRAM), '-o', str(program)], check=True)
        library, ours = symbols(sys.argv[2], 'TD'), symbols(program, 'TVWD')
        asked = symbols(program, 'U')
        other = Path(work) / 'dtm' / 'dtm.hpp'
        other.parent.mkdir()
        header = (ROOT / 'single_include/compiled/dtm/dtm.hpp').read_text(encoding='utf-8')
        other.write_text(re.sub(r'(dtm_cpp_of_version_\w+?)_[0-9a-f]{12}', r'\1_other', header), encoding='utf-8')
        linked = subprocess.run([*command, f'-I{work}', '-x', 'c++', '-', '-x', 'none', sys.argv[2], '-lsqlite3', '-pthread', '-o', f'{work}/program'],
                                input='#include <dtm/dtm.hpp>\nint main() {}\n', text=True, stderr=subprocess.PIPE, check=False)
        if linked.returncode == 0 or not re.search(r'dtm_cpp_of_version_\d\w*_other', linked.stderr):
            problems.append(f'another header links with {sys.argv[2]}, or the linker does not name it:\n{linked.stderr}')
    problems += [f'{PROGRAM.name} has {name} of its own; it should be in the library only.' for name in sorted(library & ours)]
    if not any('Coordinator::Start' in name for name in asked & library):
        problems.append(f'{PROGRAM.name} does not take Coordinator::Start from {sys.argv[2]}.')
    finish(problems, f'{PROGRAM.name} takes {len(asked & library)} functions from the library, and has none of its {len(library)}.')


main()
