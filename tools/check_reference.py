#!/usr/bin/env python3
"""Builds the API reference (build/reference/html/index.html) from the headers that docs/reference/Doxyfile names; a warning is an error.

check_reference.py                 builds it
check_reference.py --filter FILE   what doxygen reads instead of this header: our comments in its words. Line numbers stay.
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOXYFILE = ROOT / 'docs/reference/Doxyfile'


def groups():
    """{header: its group}, in the order of the Doxyfile."""
    found, group = {}, ''
    for line in DOXYFILE.read_text(encoding='utf-8').splitlines():
        group = line[len('# group: '):] if line.startswith('# group: ') else group
        for header in re.findall(r'include/(dtm/\S+\.hpp)', line):
            found[header] = group
    return found


def named():
    """The headers that examples and pages name: what programs include. Those that only include others are not read."""
    files = [ROOT / 'README.md', *(ROOT / 'docs').glob('*.md'), *(ROOT / 'examples').glob('*.?pp')]
    found = {header for file in files for header in re.findall(r'<(dtm/[\w/]+\.hpp)>', file.read_text(encoding='utf-8'))}
    return sorted(header for header in found if '/' in header[len('dtm/'):])


def head(lines, group):
    """The comment at the top of the file is of the file. Two lines are added; #pragma once and the one after it are taken out."""
    end = lines.index('#pragma once')
    told = [re.sub(r'\b(Needs|Threads|Protocol):', r'**\1:**', line) for line in lines[:end]]
    return ['/// @file', f'/// @ingroup {group}', *told, *lines[end + 2:]]


def hidden():
    """Names of functions and constants that are for the library itself."""
    return set(re.findall(r'\S+', ' '.join(re.findall(r'^# hidden: (.*)', DOXYFILE.read_text(encoding='utf-8'), re.M))))


def without(lines, unwanted, even_with_comment):
    """Empties the lines of each function or constant that has an unwanted line in its head, and of its comment."""
    out = list(lines)
    for number, line in enumerate(lines):
        if not unwanted(line):
            continue
        begin = end = number
        while re.search(r'^ *template|^ *[^/ ].*[^;{}:>]$', lines[begin - 1]):  # the same head
            begin -= 1
        if lines[begin - 1].lstrip().startswith('///') and not even_with_comment:
            continue
        while lines[begin - 1].lstrip().startswith('///'):
            begin -= 1
        if not re.search(r'[;}]$', line):
            end = lines.index(re.match(' *', lines[begin]).group(0) + '}', number)
        out[begin:end + 1] = [''] * (end + 1 - begin)
    return out


def with_code(lines):
    """Lines of a comment that are indented after an empty one are code; doxygen wants them further in."""
    code = False
    for number, line in enumerate(lines):
        code = bool(re.match(r' *///   ', line)) and (code or lines[number - 1].endswith('///'))
        if code:
            lines[number] = line.replace('///', '///  ', 1)
    return lines


def in_doxygens_words(line, group):
    if '///' in line:
        code, _, text = line.partition('///')
        text = re.sub(r'(?<!`)<(dtm/[\w/.]+)>', r'`<\1>`', text)
        text = re.sub(r'@throws (?=(as|what|whatever) )', '@throwsany ', text)
        text = re.sub(r'^ Cost: ', ' @cost ', text)
        text = re.sub(r'@throws ([\w:]+), ', r'@throws \1 @throws ', text)
        return f'{code}///{text}'
    if line == 'namespace dtm {':
        return f'namespace dtm {{  /** @addtogroup {group}'
    if line == 'inline namespace v1 {':
        return ' * @{ */'
    if line == '}  // namespace v1':
        return '/** @} */'
    return line


def filtered(path):
    name = str(Path(path).resolve().relative_to(ROOT / 'include'))
    group = groups()[name]
    lines = head((ROOT / 'include' / name).read_text(encoding='utf-8').splitlines(), group)
    # A method of a builder with && at its end is the one above it.
    lines = without(lines, re.compile(r'.*\) && (\{|=)').match, True)
    # What only overrides has its comment where it is declared.
    lines = without(lines, re.compile(r'.*\boverride( \{|;)').match, False)
    lines = without(lines, re.compile(r'(\w|    bool ).*[ &]?(?<!\w)(' + '|'.join(map(re.escape, hidden())) + r')(\(|\[| =)').match, True)
    lines = with_code(lines)
    return '\n'.join(in_doxygens_words(line, group) for line in lines) + '\n'


def main():
    if sys.argv[1:2] == ['--filter'] and len(sys.argv) == 3:
        sys.stdout.write(filtered(sys.argv[2]))
        return
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    missing = [header for header in groups() if not (ROOT / 'include' / header).exists()]
    if missing:
        sys.exit('docs/reference/Doxyfile names headers that do not exist: ' + ', '.join(missing))
    unlisted = [header for header in named() if header not in groups()]
    if unlisted:
        sys.exit('examples and pages include what docs/reference/Doxyfile does not name: ' + ', '.join(unlisted))
    shutil.rmtree(ROOT / 'build/reference', ignore_errors=True)
    (ROOT / 'build').mkdir(exist_ok=True)
    done = subprocess.run(['doxygen', str(DOXYFILE)], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    warnings = sorted({line for line in done.stdout.splitlines() if re.search(r'(warning|error): ', line)})
    # A member variable whose name says all needs no sentence.
    warnings = [line for line in warnings if not re.search(r'\(variable\) .* is not documented', line)]
    for line in warnings:
        print(line.replace(str(ROOT) + '/', ''))
    if done.returncode or warnings:
        sys.exit(f'{len(warnings)} warnings of doxygen.' if warnings else done.stdout)
    print(f'{len(groups())} headers: build/reference/html/index.html')


main()
