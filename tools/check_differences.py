#!/usr/bin/env python3
"""Checks docs/differences.md: it has each of W1 to W34 once, in order, and every test case it names is in the file before it."""
import re

from headers import ROOT, finish

DOCUMENT = ROOT / 'docs/differences.md'
NAMED = re.compile(r'`(tests/[\w/]+\.cpp)`|"([^"]+)"')
CASE = re.compile(r'TEST_CASE\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)')


def cases_of(path):
    """The names of a file's test cases; a long one is several literals."""
    text = path.read_text(encoding='utf-8')
    return {''.join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals)) for literals in CASE.findall(text)}


def main():
    problems, named = [], 0
    rows = [line for line in DOCUMENT.read_text(encoding='utf-8').splitlines() if line.startswith('| ')]
    for row in rows:
        name, proof = row.split('|')[1].strip(), row.split('|')[-2]
        path = None
        for file, case in NAMED.findall(proof):
            path = file or path
            if case and (not path or not (ROOT / path).exists() or case not in cases_of(ROOT / path)):
                problems.append(f'{DOCUMENT.name}: {name}: there is no test case "{case}" in {path}.')
            named += bool(case)
        if not NAMED.search(proof) and 'proved by' not in proof:
            problems.append(f'{DOCUMENT.name}: {name}: name the test that proves it.')
    numbers = [int(number) for number in re.findall(r'^\| W(\d+) ', '\n'.join(rows), re.M)]
    if numbers != list(range(1, 35)):
        problems.append(f'{DOCUMENT.name}: W1 to W34 have to be there once, in order; it has {numbers}.')
    finish(problems, f'{DOCUMENT.name}: {named} test cases, all there.')


if __name__ == '__main__':
    main()
