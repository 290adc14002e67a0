#!/usr/bin/env python3
"""What must not compile, does not, and says why.

By the compiler of the build and by Clang, with the flags of the build: each .cpp here must fail, and its first line,
`// error: <regular expression>`, matches the first error. With DTM_RIGHT defined it must compile: the right twin
differs in nothing else, so the wrong one fails for the reason it should. The right twins are compiled together.

Usage: run.py BUILD_DIRECTORY
"""
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / 'tools'))
from headers import compile_command, finish  # noqa: E402  (only found after the line above)


def run(command):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def precompiled(command, folder):
    """`command` with <dtm/dtm.hpp> read once for all: most of the time goes into the headers."""
    header = folder / 'all.hpp'
    header.write_text('#include <dtm/dtm.hpp>\n', encoding='utf-8')
    instantiate = ['-fpch-instantiate-templates'] if 'clang' in Path(command[0]).name else []
    subprocess.run([*command, *instantiate, '-x', 'c++-header', str(header), '-o', f'{header}.gch'], check=True)
    return [*command, '-include', str(header), '-fsyntax-only']


def right_twins(sources, command, folder):
    """What is wrong with the right twins, or None. Each is in a namespace; its includes have been read before."""
    all_of_them = folder / 'right.cpp'
    lines = [f'namespace {source.stem} {{\n#include "{source}"\n}}\n' for source in sources]
    all_of_them.write_text('#include <memory>\n' + ''.join(lines), encoding='utf-8')
    right = run([*command, '-DDTM_RIGHT', str(all_of_them)])
    return None if right.returncode == 0 else f'the right twins do not compile:\n{right.stdout}'


def wrong_twin(source, command):
    """What is wrong with one that must not compile, or None."""
    expected = re.match(r'// error: (.+)', source.read_text(encoding='utf-8'))
    if not expected:
        return f'{source.name}: the first line must be `// error: <regular expression>`.'
    wrong = run([*command, '-Wfatal-errors', str(source)])
    if wrong.returncode == 0:
        return f'{source.name}: it compiles, and must not.'
    errors = [line for line in wrong.stdout.splitlines() if 'error:' in line]
    if not errors or not re.search(expected.group(1), errors[0]):
        return f'{source.name}: the first error does not match "{expected.group(1)}":\n{wrong.stdout}'
    return None


def problems_with(command, sources):
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(cpu_count()) as pool:
        folder = Path(name)
        fast = precompiled(command, folder)
        right = pool.submit(right_twins, sources, fast, folder)
        wrong = list(pool.map(lambda source: wrong_twin(source, fast), sources))
        return [f'{command[0]}: {text}' for text in [right.result(), *wrong] if text]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    command = compile_command(sys.argv[1], 'odr')
    if not shutil.which('clang++'):
        sys.exit('clang++ is not on this machine; tests/run.sh installs it.')
    commands = [command]
    if 'clang' not in Path(command[0]).name:
        commands.append(['clang++', *command[1:]])
    sources = sorted(HERE.glob('*.cpp'))
    problems = [] if sources else [f'{HERE} holds no .cpp.']
    for each in commands:
        problems += problems_with(each, sources)
    finish(problems, f'{len(sources)} mistakes are refused by {len(commands)} compilers, and their right twins are not.')


main()
