#!/usr/bin/env python3
"""Checks that citations lead somewhere: a section of docs/protocol.md ("Protocol: §4.1", "protocol §3, §12"), an entry
of its appendices ("S1", "G11", "Appendix A"), a weakness ("W26") of docs/differences.md, and every path that
README.md and the pages of docs name. Where the glossary says that a word lives, there it is: the
types it names, or the word itself if it names none.

A citation of another document names it ("RFC 9112 §6"); nothing else may be cited by section.
"""
import re
import subprocess

from headers import ROOT, finish

PROTOCOL = ROOT / 'docs/protocol.md'
PATHS = ['README.md', *sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'docs').glob('*.md'))]
GLOSSARY = ROOT / 'docs/glossary.md'
SECTION = re.compile(r'§(\d+(?:\.\d+)*)')
# What stands before a section: the last of these words on its line counts, else the protocol.
DOCUMENT = re.compile(r'\b(RFC|protocol|design|reliability|limits)\b', re.I)
NAMED = re.compile(r'\b([GSW]\d{1,2})\b')
COMMENT = re.compile(r'//.*|^\s*#.*|^\s*""".*')


def known():
    text = PROTOCOL.read_text(encoding='utf-8')
    sections = {number.rstrip('.') for number in re.findall(r'^#+ (\d+(?:\.\d+)*)', text, re.M)}
    names = set(re.findall(r'^- \*\*([GS]\d+)\*\*', text, re.M))
    names |= set(re.findall(r'^\| (W\d+) ', (ROOT / 'docs/differences.md').read_text(encoding='utf-8'), re.M))
    return sections, names


def citations(line):
    """(document in front of it or '', section) of every § of a line."""
    for match in SECTION.finditer(line):
        before = DOCUMENT.findall(line[:match.start()])
        yield (before[-1].lower() if before else 'protocol'), match.group(1)


def source_problems():
    sections, names = known()
    files = subprocess.run(['git', 'ls-files', 'include', 'tests', 'examples', 'bench'], cwd=ROOT, check=True, text=True,
                           stdout=subprocess.PIPE).stdout.split()
    for name in files:
        if not name.endswith(('.hpp', '.cpp', '.py')):
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding='utf-8').splitlines(), 1):
            where = f'{name}:{number}'
            for document, section in citations(line):
                if document == 'rfc':
                    continue
                if document != 'protocol':
                    yield f'{where}: "{document} §{section}" is in no document here; say it in words, or cite docs/protocol.md.'
                elif section not in sections:
                    yield f'{where}: there is no §{section} in docs/protocol.md.'
            comment = COMMENT.search(line)
            if comment and re.search(r'protocol|§|reliability', comment.group(0), re.I) and 'RFC' not in comment.group(0):
                for cited in NAMED.findall(comment.group(0)):
                    if cited not in names:
                        yield f'{where}: "{cited}" is neither in docs/protocol.md (appendix B) nor in docs/differences.md.'


def path_problems():
    rooms = sorted(path.name for path in (ROOT / 'include/dtm').iterdir() if path.is_dir())
    named = re.compile(r'`((?:(?:' + '|'.join(rooms) + r'|tests|tools|docs)/)[\w/]+(?:\.\w+|/)?)`')
    for document in PATHS:
        for number, line in enumerate((ROOT / document).read_text(encoding='utf-8').splitlines(), 1):
            for path in named.findall(line):
                if not any((ROOT / base / path).exists() for base in ('', 'include/dtm')):
                    yield f'{document}:{number}: there is no {path}.'


def glossary_problems():
    for number, line in enumerate(GLOSSARY.read_text(encoding='utf-8').splitlines(), 1):
        cells = [cell.strip() for cell in line.strip('|').split(' | ')]
        places = re.findall(r'`([\w/.]+)`', cells[2]) if len(cells) == 3 else []
        if not places:
            continue
        text = ''
        for place in places:
            path = ROOT / 'include/dtm' / place
            for header in sorted(path.rglob('*.hpp')) if path.is_dir() else [path]:
                if not header.exists():
                    yield f'docs/glossary.md:{number}: there is no include/dtm/{place}.'
                else:
                    text += header.read_text(encoding='utf-8')
        types = [name.split('::')[-1] for name in re.findall(r'`([A-Z][\w:]+)`', cells[1])]
        for name in types:
            if not re.search(rf'\b{name}\b', text):
                yield f'docs/glossary.md:{number}: {name} is not in {", ".join(places)}.'
        if not types and not any(re.search(re.escape(word.strip()).replace('\\ ', r'[\s_]*'), text, re.I)
                                 for word in cells[0].split(',')):
            yield f'docs/glossary.md:{number}: "{cells[0]}" is not in {", ".join(places)}.'


finish([*source_problems(), *path_problems(), *glossary_problems()], 'every citation leads somewhere.')
