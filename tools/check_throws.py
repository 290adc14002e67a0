#!/usr/bin/env python3
"""Checks that a function that others call and that throws in its own body says so with @throws, or refers to another one ("See").

It reads lines, not C++: a function begins where clang-format puts it, in no class or in a public section. What is thrown by a
lambda, by what it calls, or in a try or catch block is not looked at, and an override has the comment of what it overrides.
"""
import re

from headers import all_headers, finish, read

HEAD = re.compile(r'^( {0,2})(?! )(?!(class|struct|enum|namespace|if|for|while|switch|else|try|do|case)\b|\})(?!.*(\[&?\w*[\](,&]|\boverride\b)).*\{$')
THROW = re.compile(r'^\s+(if \(.*\) |else )?throw \w')
PART = re.compile(r'^\s*(///|//|template|public:|protected:|private:|#|$)|[;{}]$')


def functions(lines):
    """(number of its last line, its head, the comment above it, the lines of its body) of each function that others may call."""
    access = ''
    for number, line in enumerate(lines):
        if re.match(r'(class|struct) \w+.*\{$', line):
            access = 'private' if line.startswith('class') else ''
        elif re.match(r' (public|protected|private):', line):
            access = line.strip(' :').replace('public', '')
        elif line.startswith('}'):
            access = ''
        head = HEAD.match(line)
        if not head or access or ')' not in line:
            continue
        end = next((i for i in range(number + 1, len(lines)) if lines[i] == head.group(1) + '}'), number)
        begin = number
        while begin > 0 and not PART.search(lines[begin - 1]):
            begin -= 1
        whole = ' '.join(lines[begin:number + 1])
        comment = []
        while begin > 0 and re.match(r'^\s*(///|template)', lines[begin - 1]):
            begin -= 1
            comment.append(lines[begin])
        if '[[noreturn]]' not in whole and ' = [' not in whole and '::' not in whole.split('(')[0].split(' ')[-1]:
            yield number + 1, whole.strip(), ' '.join(comment), lines[number + 1:end]


def thrown(body):
    """Whether it throws outside of lambdas, try and catch blocks, which close at their own indentation."""
    skip = None
    for line in body:
        indent = len(line) - len(line.lstrip())
        if skip is not None:
            if indent <= skip and line.lstrip().startswith('}'):
                skip = None
            if skip is not None or 'catch (' not in line:
                continue
        if line.endswith('{') and (re.search(r'\btry \{$|catch \(', line) or re.search(r'\[[&=\w, ]*\]', line)):
            skip = indent
        elif THROW.match(line):
            return True
    return False


def problems():
    for header in all_headers():
        if header == 'dtm/http/desk/desk_page.hpp':  # a page as a text
            continue
        for number, head, comment, body in functions(read(header).splitlines()):
            if thrown(body) and not re.search(r'@throws|\b[Ss]ee \w', comment):
                yield f'include/{header}:{number}: {head[:70]} throws; say what and when with @throws.'


finish([*problems()], 'every function that throws by itself says so.')
