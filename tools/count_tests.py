#!/usr/bin/env python3
"""Prints "PASSED FAILED" of a report of ctest --output-junit. A Catch2 program counts its test cases, any other
test counts as one; what was skipped counts as neither. A test that ended without a summary (crash, time limit)
is one failure.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree

ALL_PASSED = re.compile(r'^All tests passed \(.* in (\d+) test cases?\)', re.MULTILINE)
SOME_FAILED = re.compile(r'^test cases: +\d+ \|(.*)$', re.MULTILINE)


def count(case):
    output = case.findtext('system-out') or ''
    status = case.get('status')
    if status == 'run':
        match = ALL_PASSED.search(output)
        return (int(match.group(1)) if match else 1), 0
    if status != 'fail':
        print(f'{case.get("name")}: {status}', file=sys.stderr)
        return 0, int(status != 'disabled' and case.find('skipped') is None)
    match = SOME_FAILED.search(output)
    words = dict((word, int(number)) for number, word in re.findall(r'(\d+) (passed|failed)', match.group(1))) if match else {}
    return words.get('passed', 0), max(1, words.get('failed', 1))


try:
    counts = [count(case) for case in ElementTree.parse(sys.argv[1]).getroot().iter('testcase')]
except (OSError, ElementTree.ParseError) as error:
    sys.exit(f'no report of the tests: {error}')
print(*map(sum, zip(*counts)) if counts else (0, 1))
