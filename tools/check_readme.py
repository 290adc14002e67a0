#!/usr/bin/env python3
"""Compiles and runs the C++ of README.md and of the pages in docs, from their text; and checks that their links lead somewhere.

check_readme.py --write DIR   writes each ```cpp block to DIR/<page>_<number>.inc, for the programs tests/readme/*.cpp: one of
                              them includes it, where the names it uses exist. Hosts become that program's.
check_readme.py PROGRAM...    runs these programs. A block that begins with `// examples/NAME.cpp` is a piece of that example, or,
                              with a command after it, a whole one, whose command is run. Each in a directory of its own.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
HARNESSES = ROOT / 'tests' / 'readme'
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
# What is only true on the reader's network: the pattern in the page, the expression in the program.
HERE = [(r'"http://(?:bank-[ab]|mail)/', 'BranchHost() + "/'),
        (r'"http://localhost:36789/', 'CoordinatorHost() + "/'),
        (r'\b36789\b', 'CoordinatorPort()'),
        (r'"host=\.\.\. dbname=\.\.\."', 'Conninfo()')]


def blocks():
    """(name, page and line, text) of each block; one that is of an example is named `examples/NAME.cpp`."""
    for page in PAGES:
        count, start, text = 0, 0, None
        for number, line in enumerate(page.read_text(encoding='utf-8').split('\n'), 1):
            if text is not None:
                if line != '```':
                    text.append(line)
                    continue
                example = re.match(r'// (examples/\w+\.[ch]pp)', text[0])
                count += not example
                name = example.group(1) if example else f'{page.stem.lower()}_{count}'
                yield name, f'{page.relative_to(ROOT)}:{start}', '\n'.join(text) + '\n'
                text = None
            elif line == '```cpp':
                start, text = number + 1, []


def write(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, where, text in blocks():
        if '/' in name:
            continue
        for pattern, here in HERE:
            text = re.sub(pattern, here, text)
        page, line = where.split(':')
        (directory / f'{name}.inc').write_text(f'#line {line} "{ROOT}/{page}"\n{text}', encoding='utf-8')


def run(command, directory):
    """What is wrong with it, or None; and its output."""
    done = subprocess.run(command, cwd=directory, shell=isinstance(command, str), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    return (f'{command} ends with {done.returncode}:\n{done.stdout}' if done.returncode else None), done.stdout


def without_blanks(text):
    return ''.join(text.split())


def example_problem(name, where, text):
    first, _, rest = text.partition('\n')
    command = first.partition(': ')[2]
    piece = text if command else rest
    # A piece may be indented and broken otherwise, and may leave lines out at a line of dots.
    of = without_blanks((ROOT / name).read_text(encoding='utf-8'))
    if not all(without_blanks(part) in of for part in re.split(r'^ *// \.\.\.$', piece, flags=re.M)):
        return f'{where}: this is not a piece of {name}; cut it out again'
    if not command:
        return None  # the example is built and run as a test
    with tempfile.TemporaryDirectory() as folder:
        for part in ('examples', 'single_include'):  # the command is for the root of the repository
            (pathlib.Path(folder) / part).symlink_to(ROOT / part)
        problem, _ = run(command, folder)
        if problem:
            return f'{where}: {problem}'
        problem, said = run(['./a.out'], folder)
        if problem or '30: succeed' not in said or '60: failed' not in said:
            return f'{where}: {problem or said}'
    return None


def anchors(page):
    """As GitHub makes them of the headings."""
    for heading in re.findall(r'^#+ (.*)', page.read_text(encoding='utf-8'), re.M):
        yield re.sub(r' ', '-', re.sub(r'[^\w\- ]', '', re.sub(r'\]\([^)]*\)', '', heading).lower()))


def link_problems():
    for page in PAGES:
        for number, line in enumerate(page.read_text(encoding='utf-8').split('\n'), 1):
            for link in re.findall(r'\]\(([^)\s]+)\)', re.sub(r'`[^`]*`', '', line)):
                path, _, anchor = link.partition('#')
                target = (page.parent / path).resolve() if path else page
                if re.match(r'https?://', link):
                    continue
                if not target.exists() or anchor and anchor not in anchors(target):
                    yield f'{page.relative_to(ROOT)}:{number}: {link} leads nowhere'


def main():
    if sys.argv[1:2] == ['--write'] and len(sys.argv) == 3:
        return write(pathlib.Path(sys.argv[2]))
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    found = list(blocks())
    included = [name for program in HARNESSES.glob('*.cpp')
                for name in re.findall(r'#include "(\w+)\.inc"', program.read_text(encoding='utf-8'))]
    problems = [f'{where}: include "{name}.inc" once in a program of tests/readme, so that this block is run'
                for name, where, _ in found if '/' not in name and included.count(name) != 1]
    problems += link_problems()
    problems += filter(None, (example_problem(*block) for block in found if '/' in block[0]))
    if not problems:
        for program in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                problems += filter(None, [run([program], folder)[0]])
    for text in problems:
        print(text)
    if problems or not found:
        sys.exit(f'{len(problems)} problems; {len(found)} blocks of C++')
    print(f'{len(found)} blocks of C++ in the README and docs, all compiled and run; every link leads somewhere')
    return None


main()
