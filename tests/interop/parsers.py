#!/usr/bin/env python3
"""Our parser beside llhttp (in the Python package httptools) and cpp-httplib: the same bytes must not mean two things.

  parsers.py --build DIR [--prepare] PROGRAM      PROGRAM is interop_parsers; --prepare only installs what the run needs

The bytes are those of tests/fuzz/corpus, those below, and many that come of them by small changes, the same in each run.
Requests: what we take, llhttp takes as well, and both understand the same; what we refuse and llhttp takes is refused for a
reason that is listed here. Replies: what llhttp takes we take as well, but for listed reasons, and understand the same.
Whatever both we and cpp-httplib take is the same message to both.
"""
import argparse
import json
import random
import re
import subprocess
import sys
from pathlib import Path

from run import Problem, install_python

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent / 'fuzz/corpus'
CHANGED = 1500  # of each kind

REQUESTS = [
    b'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    b'POST /x?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    b'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n',
    b'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc',
    b'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc',
    b'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    b'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    b'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n',
    b'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
    b'POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    b'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc',
    b'POST /x HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc',
    b'PUT /x HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Tab:\ta\t\r\nContent-Length: 0\r\n\r\n',
    b'GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n',
]
REPLIES = [
    b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
    b'HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok',
    b'HTTP/1.1 204 No Content\r\n\r\n',
    b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
    b'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 409 No\r\nContent-Length: 2\r\n\r\nno',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a="b"\r\nok\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n',
    b'HTTP/1.1 500 Oops\r\n\r\nup to the end',
    b'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok and more',
    b'HTTP/1.1 200 OK\r\n' + b''.join(b'X-%d: %d\r\n' % (i, i) for i in range(300)) + b'Content-Length: 2\r\n\r\nok',
    b'HTTP/1.1 200 OK\r\nX: ' + b'v' * 30000 + b'\r\nContent-Length: 2\r\n\r\nok',
    b'HTTP/1.1 200 OK\r\nX: folded\r\n here\r\n\tand here\r\nContent-Length: 2\r\n\r\nok',
    b'HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n' + b'x' * 200000,
]
WORDS = [b'\r\n', b'\n', b'\r', b' ', b'\t', b':', b'\0', b'\x80', b'0', b'1', b'f', b';', b',', b'\r\n\r\n', b'Content-Length: 3\r\n',
         b'Content-Length: 0\r\n', b'Transfer-Encoding: chunked\r\n', b'Transfer-Encoding: identity\r\n', b'Connection: close\r\n', b'X: y\r\n',
         b' z\r\n', b'HTTP/1.0', b'HTTP/1.1 103 x\r\n\r\n']

# Why we refuse what llhttp takes: what could be read in two ways; of replies also what does not begin with a status.
STRICT = ['it has trailers, which are not taken', 'its Host is given twice, or is none', 'its Transfer-Encoding is not chunked',
          'HTTP/1.0 has no Transfer-Encoding', 'its first line is not METHOD TARGET HTTP/1.1',
          'its target has a byte that has to be written as %XX', 'a line does not end with carriage return and line feed']
FORGIVING = ['its first line is no status of HTTP/1.1 or HTTP/1.0', 'its Transfer-Encoding goes on behind chunked']
# llhttp knows a list of methods, and looks into the target and what stands behind the size of a chunk: we leave the first
# to the API, and pass over the last.
NOT_OURS_TO_JUDGE = ['Invalid method', 'Expected space after method', 'url', 'chunk extensions']


def seeds(kind):
    folders = [(kind, b'')]
    head = b'POST / HTTP/1.1\r\nHost: a\r\n' if kind == 'request' else b'HTTP/1.1 200 OK\r\n'
    folders.append(('chunks', head + b'Transfer-Encoding: chunked\r\n\r\n'))
    found = [before + file.read_bytes()[1:] for folder, before in folders for file in sorted((CORPUS / folder).iterdir())]
    return (REQUESTS if kind == 'request' else REPLIES) + found


def changed(bytes_, others, chance):
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at = chance.randrange(len(bytes_) + 1)
        what = chance.randrange(5)
        if what == 0:
            bytes_ = bytes_[:at] + bytes_[at + 1:]
        elif what == 1:
            bytes_ = bytes_[:at] + chance.choice(WORDS) + bytes_[at:]
        elif what == 2:
            bytes_ = bytes_[:at] + chance.choice(WORDS) + bytes_[at + 1:]
        elif what == 3:  # at the begin of a line
            begin = bytes_.rfind(b'\n', 0, at) + 1
            bytes_ = bytes_[:begin] + chance.choice(WORDS) + bytes_[begin:]
        else:
            other = chance.choice(others)
            begin = other.find(b'\n', chance.randrange(len(other) + 1)) + 1
            bytes_ = bytes_[:bytes_.rfind(b'\n', 0, at) + 1] + other[begin:]
    return bytes_


class First(Exception):
    """The first message is complete."""


class Llhttp:
    """What llhttp understands of the first message, without the 1xx before it."""

    def __init__(self, kind, bytes_):
        import httptools  # installed by --prepare
        self.whole, self.error, self.upgrade, self.in_body = False, '', False, False
        self.target, self.headers, self.body = b'', [], b''
        self.parser = (httptools.HttpRequestParser if kind == 'request' else httptools.HttpResponseParser)(self)
        self.status = None if kind == 'request' else 0
        try:
            self.parser.feed_data(bytes_)
        except httptools.HttpParserUpgrade:
            self.upgrade = True
        except httptools.HttpParserError as error:
            if not self.whole:
                self.error = str(error) or type(error).__name__

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        if not self.in_body:  # else a trailer
            self.headers.append((name, value.rstrip(b' \t')))

    def on_headers_complete(self):
        self.in_body = True
        if self.status is None:
            method, version = self.parser.get_method(), self.parser.get_http_version()
            self.first = method + b' ' + self.target + b' ' + version[-1:].encode()
        else:
            self.status = self.parser.get_status_code()
            self.first = b'%d %s' % (self.status, self.parser.get_http_version()[-1:].encode())

    def on_body(self, piece):
        self.body += piece

    def on_message_complete(self):
        if self.status is not None and self.status < 200:
            self.headers, self.in_body = [], False
            return
        self.whole = True
        raise First


def text(hexed):
    return bytes.fromhex(hexed)


def folded(value):
    return re.sub(rb'[ \t\r\n]+', b' ', value).strip()


class Comparison:
    def __init__(self, kind):
        self.kind, self.problems, self.counts = kind, [], {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def wrong(self, why, bytes_, told):
        self.problems.append(f'{self.kind} {bytes_[:300]!r}: {why}; we: {json.dumps(told["ours"])[:300]}')

    def look(self, bytes_, told):
        ours, theirs, peer = told['ours'], Llhttp(self.kind, bytes_), told['httplib']
        self.count('all')
        if theirs.upgrade:  # it ends the message at its head, which is not what we are to do
            self.count('upgrades, not compared')
        elif re.search(rb'chunked[ \t]*\t', bytes_):  # llhttp does not see a coding before a tab
            self.count('tabs, not compared')
        elif ours['whole'] and theirs.whole:
            self.count('taken by both')
            for name, one, other in [('the first line', text(ours['first']), theirs.first),
                                     ('the headers', [(text(n), folded(text(v))) for n, v in ours['headers']],
                                      [(n, folded(v)) for n, v in theirs.headers]),
                                     ('the body', text(ours['body']), theirs.body)]:
                if one != other:
                    self.wrong(f'{name} is {one[:100]!r} to us and {other[:100]!r} to llhttp', bytes_, told)
        elif ours['whole']:
            if any(one in theirs.error for one in NOT_OURS_TO_JUDGE):
                self.count('method, target or extension unknown to llhttp')
            elif self.kind == 'request':
                self.wrong(f'we take what llhttp refuses ({theirs.error or "incomplete"})', bytes_, told)
            elif theirs.error:
                self.count('only we take it')
            elif (text(ours['first']), text(ours['body'])) != (theirs.first, theirs.body):  # it goes on to the end of the connection
                self.wrong(f'llhttp reads status {theirs.first!r} and {theirs.body[:100]!r}', bytes_, told)
        elif theirs.whole:
            self.count('only llhttp takes it')
            if ours['why'] not in (STRICT if self.kind == 'request' else FORGIVING):
                self.wrong('llhttp takes it', bytes_, told)
        # It drops bodies of GET, reads those of 304, takes a 1xx for the reply, a line feed alone for no line end, a folded line
        # for no header, and of several headers that say the length another one.
        unlike = (bytes_.startswith(b'GET') or re.search(rb'HTTP/1.[01] (1|304)|(?<!\r)\n|\n[ \t]', bytes_) or
                  len(re.findall(rb'(?i)\n(content-length|transfer-encoding)', bytes_)) > 1)
        if ours['whole'] and peer['whole'] and not unlike:
            self.count('taken by us and cpp-httplib')
            first = text(ours['first'])
            first = first[:-2] if self.kind == 'request' else first[:3]
            if (first, text(ours['body'])) != (text(peer['first']), text(peer['body'])):
                self.wrong(f'cpp-httplib understands {text(peer["first"])!r} and {text(peer["body"])[:100]!r}', bytes_, told)


def compare(kind, program):
    chance = random.Random(1)
    known = seeds(kind)
    cases = known + [changed(chance.choice(known), known, chance) for _ in range(CHANGED)]
    asked = ''.join(f'{kind} {case.hex()}\n' for case in cases)
    answers = subprocess.run([program], input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    if len(answers) != len(cases):
        raise Problem(f'{program} gave {len(answers)} answers to {len(cases)} cases')
    comparison = Comparison(kind)
    for case, answer in zip(cases, answers):
        comparison.look(case, json.loads(answer))
    print(f'{kind}: ' + ', '.join(f'{what} {count}' for what, count in comparison.counts.items()))
    return comparison


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=Path, required=True)
    parser.add_argument('--prepare', action='store_true')
    parser.add_argument('program')
    args = parser.parse_args()
    try:
        packages = install_python(args.build.resolve() / 'httptools', HERE / 'parsers.txt')
        if args.prepare:
            return 0
        sys.path.insert(0, str(packages))
        comparisons = [compare(kind, args.program) for kind in ('request', 'reply')]
    except (Problem, OSError, subprocess.CalledProcessError) as problem:
        print(f'FAILED: {problem}')
        return 1
    problems = [problem for comparison in comparisons for problem in comparison.problems]
    for problem in problems[:20]:
        print('FAILED', problem)
    for comparison in comparisons:
        if comparison.counts.get('taken by both', 0) < 100 or comparison.counts.get('taken by us and cpp-httplib', 0) < 50:
            problems.append(f'{comparison.kind}: too few messages were compared')
            print('FAILED', problems[-1])
    print(f'{len(problems)} problems')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
