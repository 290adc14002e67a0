#!/usr/bin/env python3
"""Compiles and runs the C++ of the README, from its text.

check_readme.py --write DIR   writes each ```cpp block to DIR/<heading>_<number>.inc, for the programs tests/readme/*.cpp: one
                              of them includes it, where the names it uses exist. Hosts become that program's.
check_readme.py PROGRAM...    runs these programs; and, of the block that is a whole example, the command that it names.
                              Each in a directory of its own.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
HARNESSES = ROOT / 'tests' / 'readme'
# What is only true on the reader's network: the pattern in the README, the expression in the program.
HERE = [(r'"http://(?:bank-[ab]|mail)/', 'BranchHost() + "/'),
        (r'"http://localhost:36789/', 'CoordinatorHost() + "/'),
        (r'\b36789\b', 'CoordinatorPort()'),
        (r'"host=\.\.\. dbname=\.\.\."', 'Conninfo()')]


def blocks():
    """(name, line, text) of each block; an example is named `examples/NAME.cpp`."""
    heading, count, start, text = '', 0, 0, None
    for number, line in enumerate((ROOT / 'README.md').read_text(encoding='utf-8').split('\n'), 1):
        if text is not None:
            if line != '```':
                text.append(line)
                continue
            example = re.match(r'// (examples/\w+\.cpp)', text[0])
            count += not example
            yield example.group(1) if example else f'{heading}_{count}', start, '\n'.join(text) + '\n'
            text = None
        elif line.startswith('#'):
            heading, count = re.sub(r'\W+', '_', line.strip('# ').lower()).strip('_'), 0
        elif line == '```cpp':
            start, text = number + 1, []


def write(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, line, text in blocks():
        if '/' in name:
            continue
        for pattern, here in HERE:
            text = re.sub(pattern, here, text)
        (directory / f'{name}.inc').write_text(f'#line {line} "{ROOT}/README.md"\n{text}', encoding='utf-8')


def run(command, directory):
    """What is wrong with it, or None; and its output."""
    done = subprocess.run(command, cwd=directory, shell=isinstance(command, str), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    return (f'{command} ends with {done.returncode}:\n{done.stdout}' if done.returncode else None), done.stdout


def example_problem(name, line, text):
    if text not in (ROOT / name).read_text(encoding='utf-8'):
        return f'README.md:{line}: this is not a piece of {name}; cut it out again'
    command = text.split('\n')[0].partition(': ')[2]
    with tempfile.TemporaryDirectory() as folder:
        for part in ('examples', 'single_include'):  # the command is for the root of the repository
            (pathlib.Path(folder) / part).symlink_to(ROOT / part)
        problem, _ = run(command, folder)
        if problem:
            return f'README.md:{line}: {problem}'
        problem, said = run(['./a.out'], folder)
        if problem or '30: succeed' not in said or '60: failed' not in said:
            return f'README.md:{line}: {problem or said}'
    return None


def main():
    if sys.argv[1:2] == ['--write'] and len(sys.argv) == 3:
        return write(pathlib.Path(sys.argv[2]))
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    found = list(blocks())
    included = [name for program in HARNESSES.glob('*.cpp')
                for name in re.findall(r'#include "(\w+)\.inc"', program.read_text(encoding='utf-8'))]
    problems = [f'README.md:{line}: include "{name}.inc" once in a program of tests/readme, so that this block is run'
                for name, line, _ in found if '/' not in name and included.count(name) != 1]
    problems += filter(None, (example_problem(*block) for block in found if '/' in block[0]))
    if not problems:
        for program in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                problems += filter(None, [run([program], folder)[0]])
    for text in problems:
        print(text)
    if problems or not found:
        sys.exit(f'{len(problems)} of {len(found)} blocks are wrong')
    print(f'{len(found)} blocks of C++ in the README, all compiled and run')
    return None


main()
