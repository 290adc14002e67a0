#!/usr/bin/env python3
"""What must not compile, does not, and says why.

Each .cpp here is compiled twice, with the compiler and the flags of the build. As it stands it must fail, and
its first line, `// error: <regular expression>`, matches the first error; with DTM_RIGHT it must compile: the right twin
differs in nothing else, so the wrong one fails for the reason it should.

Usage: run.py BUILD_DIRECTORY
"""
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / 'tools'))
from headers import compile_command, finish  # noqa: E402  (only found after the line above)


def problem(source, command):
    """What is wrong with one pair, or None."""
    expected = re.match(r'// error: (.+)', source.read_text(encoding='utf-8'))
    if not expected:
        return f'{source.name}: the first line must be `// error: <regular expression>`.'

    def compile_it(*flags):
        return subprocess.run([*command, *flags, '-fsyntax-only', str(source)], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)

    right = compile_it('-DDTM_RIGHT')
    if right.returncode != 0:
        return f'{source.name}: the right twin does not compile:\n{right.stdout}'
    wrong = compile_it()
    if wrong.returncode == 0:
        return f'{source.name}: it compiles, and must not.'
    errors = [line for line in wrong.stdout.splitlines() if 'error:' in line]
    if not errors or not re.search(expected.group(1), errors[0]):
        return f'{source.name}: the first error does not match "{expected.group(1)}":\n{wrong.stdout}'
    return None


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    command = compile_command(sys.argv[1], 'odr')
    sources = sorted(HERE.glob('*.cpp'))
    with ThreadPoolExecutor(cpu_count()) as pool:
        problems = list(pool.map(lambda source: problem(source, command), sources))
    if not sources:
        problems.append(f'{HERE} holds no .cpp.')
    finish([*filter(None, problems)],
           f'{len(sources)} mistakes are refused by the compiler, and their right twins are not.')


main()
