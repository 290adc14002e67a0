#!/usr/bin/env python3
"""Makes include/dtm/http/desk/desk_page.hpp from desk/desk.html: the page of the desk, compiled in.

The source is one file. Content-Security-Policy allows only what comes from files of the server, so its <style>, its <script> and its
icon become files of their own, and the page refers to them. What the library draws has its style inside, where it would be refused: that
goes into the page's.

Usage: embed_desk.py [--check]      --check only compares with the header that is there
"""
import re
import sys

from headers import INCLUDE, ROOT, finish

SOURCE = ROOT / 'desk/desk.html'
HEADER = INCLUDE / 'dtm/http/desk/desk_page.hpp'
LIMIT = 100_000  # bytes of all together
DRAWING = INCLUDE / 'dtm/timeline/drawing/svg_parts.hpp'
LITERAL = 12_000  # bytes of one literal: compilers have limits
# name of the constant, what is cut out of the source, and what stands there instead
PARTS = [
    ('kStyle', re.compile(r'<style>\n(.*?)</style>', re.S), '<link rel="stylesheet" href="desk/desk.css">'),
    ('kScript', re.compile(r'<script>\n(.*?)</script>', re.S), '<script src="desk/desk.js" defer></script>'),
    ('kIcon', re.compile(r'<!-- icon\n(.*?)-->', re.S), '<link rel="icon" type="image/svg+xml" href="desk/icon.svg">'),
]
HEAD = """/// Generated from desk/desk.html by tools/embed_desk.py; do not edit. The files of the desk's page.
/// Needs: std. Threads: constants.
#pragma once

namespace dtm {
inline namespace v1 {
namespace desk {

// clang-format off
"""
TAIL = """// clang-format on

}  // namespace desk
}  // namespace v1
}  // namespace dtm
"""


def divided(page):
    """{name of the constant: its text}; kPage is what is left."""
    files = {}
    for name, place, instead in PARTS:
        found = place.findall(page)
        if len(found) != 1:
            sys.exit(f'{SOURCE.name} must have exactly one {place.pattern!r}, and has {len(found)}.')
        files[name] = found[0]
        page = place.sub(lambda _: instead, page)
    return {'kPage': page, **files}


def drawing_style():
    """The text of kSvgStyle."""
    literal = re.search(r'kSvgStyle\[\] =((?:\s*"(?:[^"\\]|\\.)*")+);', DRAWING.read_text(encoding='utf-8'))
    text = ''.join(re.findall(r'"((?:[^"\\]|\\.)*)"', literal[1]))
    return text.replace('<style>', '').replace('</style>', '').replace('}', '}\n')


def literals(text):
    """Raw literals of whole lines; side by side they are one text for the compiler."""
    pieces, piece = [], ''
    for line in text.splitlines(keepends=True):
        if len((piece + line).encode()) > LITERAL:
            pieces.append(piece)
            piece = ''
        piece += line
    return '\n'.join(f'R"desk({piece})desk"' for piece in pieces + [piece])


def header():
    # The tools that make single_include leave out a second blank line, also in a literal.
    page = re.sub(r'\n{3,}', '\n\n', SOURCE.read_text(encoding='utf-8'))
    files = divided(page.replace('/* The style of drawings. */', drawing_style()))
    size = sum(len(text.encode()) for text in files.values())
    if size > LIMIT:
        sys.exit(f'{SOURCE.name} is {size} bytes; {LIMIT} is the limit.')
    if ')desk"' in page or re.search(r'^\s*#\s*(if|endif|include|pragma)', page, re.M):
        sys.exit(f'{SOURCE.name} has a line that C++ or tools/amalgamate.py would take for their own.')
    body = ''.join(f'inline constexpr char {name}[] =\n{literals(text)};\n\n' for name, text in files.items())
    return HEAD + body + TAIL, size


def main():
    text, size = header()
    if sys.argv[1:] == ['--check']:
        same = HEADER.exists() and HEADER.read_text(encoding='utf-8') == text
        finish([] if same else [f'{HEADER.relative_to(ROOT)} is not what {SOURCE.name} makes: run tools/embed_desk.py.'],
               f'The desk is compiled in as it is: {size} bytes.')
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        HEADER.write_text(text, encoding='utf-8')
        print(f'{HEADER.relative_to(ROOT)}: {size} bytes')


main()
