"""Splits a header of ours into declarations and definitions: what a program includes, and what is compiled once.

Knows the C++ of this library, not all of C++: what it does not know does not compile, which check/compiled sees.
Templates and constexpr functions stay where they are.
"""
import re
from typing import NamedTuple

SKIPPED = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', re.S)
ACCESS = re.compile(r'(public|protected|private)\s*:')
SPECIFIERS = re.compile(r'\b(inline|static|virtual|explicit|friend)\b\s*|\[\[[^\]]*\]\]\s*')
CLOSING = {'(': ')', '{': '}', '[': ']'}


class Definition(NamedTuple):
    namespaces: tuple  # as they are opened: ('namespace dtm', 'inline namespace v1')
    text: str


def opened(namespaces, texts):
    """Lines that hold `texts` in these namespaces."""
    return [' '.join(name + ' {' for name in namespaces)] + texts + ['}' * len(namespaces), '']


def masked(text):
    """`text` with comments and literals blanked, so that it can be searched for brackets; as long as it was."""
    def blank(match):
        found = match.group(0)
        inside = ''.join('\n' if c == '\n' else ' ' for c in found[1:-1])
        return ' ' + inside + ' ' if found[0] in '/' else '"' + inside + '"'
    return SKIPPED.sub(blank, text)


def matching(mask, start):
    """The position behind the bracket that closes the one at `start`."""
    stack = []
    for i in range(start, len(mask)):
        c = mask[i]
        if c in CLOSING:
            stack.append(CLOSING[c])
        elif stack and c == stack[-1]:
            stack.pop()
            if not stack:
                return i + 1
    raise ValueError('no closing bracket for: ' + mask[start:start + 80])


def angles_end(mask, start):
    """Behind the `>` that closes the `<` at `start`."""
    depth, i = 0, start
    while i < len(mask):
        if mask[i] in CLOSING:
            i = matching(mask, i)
            continue
        depth += (mask[i] == '<') - (mask[i] == '>' and mask[i - 1] != '-')
        i += 1
        if depth == 0:
            return i
    raise ValueError('no closing angle for: ' + mask[start:start + 80])


def parameters_at(head):
    """Where the parameter list of the function with this head begins; None if it is no function."""
    i = 0
    while i < len(head):
        operator = re.compile(r'operator\s*(\(\)|[^\s\w(]+|[\w:<>*& ]+?(?=\())').match(head, i)
        if operator and not (i and (head[i - 1].isalnum() or head[i - 1] == '_')):
            return head.index('(', operator.end())
        if head[i] == '=':
            return None
        if head[i] == '<':
            i = angles_end(head, i)
        elif head[i] == '[' or (head[i] == '(' and re.search(r'\b(decltype|alignas|noexcept)\s*$', head[:i])):
            i = matching(head, i)
        elif head[i] == '(':
            return i
        else:
            i += 1
    return None


def without_defaults(text, mask):
    """A parameter list without its default arguments."""
    out, i = '', 0
    while i < len(text):
        if mask[i] == '=':
            out = out.rstrip()
            while i < len(text) - 1 and mask[i] != ',':
                i = matching(mask, i) if mask[i] in CLOSING else angles_end(mask, i) if mask[i] == '<' else i + 1
            continue
        if mask[i] == '<':
            end = angles_end(mask, i)
        else:
            end = i + 1
        out += text[i:end]
        i = end
    return out


class Splitter:
    def __init__(self, text):
        self.text, self.mask = text, masked(text)
        self.out, self.definitions = [], []
        self.names = set()  # what the header declares: (inner namespace or '', name)
        self.members = set()  # functions of its classes, which may have the names of others
        self.namespaces, self.classes = [], []

    def split(self):
        self.scope(0, len(self.text))
        return ''.join(self.out)

    def head_end(self, i, end):
        """The position of the `;` or `{` that ends the head of a declaration."""
        while i < end:
            c = self.mask[i]
            if c in ';{':
                return i
            i = matching(self.mask, i) if c in '([' else i + 1
        return end

    def statement_end(self, i):
        while self.mask[i] != ';':
            i = matching(self.mask, i) if self.mask[i] in CLOSING else i + 1
        return i + 1

    def scope(self, i, end):
        while i < end:
            start = i
            while i < end and self.mask[i].isspace():
                i += 1
            self.out.append(self.text[start:i])
            if i >= end:
                return
            if self.mask[i] == '#':
                start = i
                while self.mask[i] != '\n' or self.mask[i - 1] == '\\':
                    i += 1
                self.out.append(self.text[start:i])
                continue
            access = ACCESS.match(self.mask, i) if self.classes else None
            if access:
                self.out.append(access.group(0))
                i = access.end()
                continue
            i = self.declaration(i, end)

    def keep(self, start, end):
        self.out.append(self.text[start:end])
        return end

    def declaration(self, start, end):
        brace = self.head_end(start, end)
        head = self.mask[start:brace]
        if not self.classes:
            self.remember(head)
        if re.match(r'template\b', head):
            if brace < end and self.mask[brace] == '{':
                after = matching(self.mask, brace)
                if re.match(r'template\s*<.*?>\s*(class|struct|using|inline constexpr|constexpr \w+ \w+ =)', head, re.S) or '=' in head.split(')')[-1]:
                    after = self.statement_end(after)
                return self.keep(start, after)
            return self.keep(start, brace + 1)
        if brace >= end or self.mask[brace] == ';':
            return self.plain(start, brace)
        if re.match(r'(inline )?namespace\b', head):
            self.namespaces.append(head.strip())
            self.keep(start, brace + 1)
            close = matching(self.mask, brace)
            self.scope(brace + 1, close - 1)
            self.namespaces.pop()
            return self.keep(close - 1, close)
        kind = re.match(r'(class|struct|union|enum)\b', head)
        if kind and '(' not in head:
            close = matching(self.mask, brace)
            if kind.group(1) != 'enum':
                self.keep(start, brace + 1)
                name = re.match(r'\w+\s+(?:alignas\([^)]*\)\s*)?(\w+)', head).group(1)
                self.classes.append(name)
                self.scope(brace + 1, close - 1)
                self.classes.pop()
                return self.keep(close - 1, self.statement_end(close))
            return self.keep(start, self.statement_end(close))
        at = parameters_at(head)
        if at is None:
            return self.keep(start, self.statement_end(brace))
        return self.function(start, start + at)

    def plain(self, start, semicolon):
        """`~X() = default;` is a definition too: what it destroys need not be known where it is declared."""
        text = self.text[start:semicolon]
        default = re.match(r'(.*~(\w+)\(\).*?)\s*= default$', text, re.S)
        if default and self.classes and default.group(2) == self.classes[-1]:
            self.out.append(default.group(1) + ';')
            self.define('', '::'.join(self.classes) + f'::~{default.group(2)}()', '', ' = default;')
            return semicolon + 1
        return self.keep(start, semicolon + 1)

    def function(self, start, at):
        mask, text = self.mask, self.text
        close = matching(mask, at)
        body = close
        while mask[body] != '{' and not (mask[body] == ':' and mask[body + 1] != ':' and mask[body - 1] != ':'):
            body = matching(mask, body) if mask[body] in '([' else body + 1
        brace = body
        if mask[body] == ':':  # members, with ( ) or { } each
            brace += 1
            while True:
                while mask[brace] not in '({':
                    brace = angles_end(mask, brace) if mask[brace] == '<' else brace + 1
                brace = matching(mask, brace)
                while mask[brace].isspace():
                    brace += 1
                if mask[brace] == '{':
                    break
        end = matching(mask, brace)
        before, parameters, tail = text[start:at], text[at:close], text[close:body].rstrip()
        deduced = re.search(r'\bauto\b', mask[start:at]) and '->' not in mask[close:body]
        if re.search(r'\b(constexpr|friend)\b', mask[start:at]) or deduced:
            return self.keep(start, end)
        declared = before if self.classes else re.sub(r'^inline\s+', '', before)
        if not re.search(r'\w::~?\w+$', declared):  # else it was declared in its class
            self.out.append(declared + parameters + tail + ';')
        if self.classes:
            self.members.add(re.search(r'(\w*)\W*$', before).group(1))
        self.split_head(before, without_defaults(parameters, mask[at:close]), tail, text[body:end])
        return end

    def split_head(self, before, parameters, tail, body):
        before = re.sub(r'\s+', ' ', SPECIFIERS.sub('', re.sub(r'//[^\n]*', '', before))).strip()
        name = re.search(r'((?:\w+::)*(?:~\w+|operator.*|\w+))$', before).group(1)
        returned = before[:-len(name)].strip()
        tail = re.sub(r'\s*\b(override|final)\b', '', tail)
        if not self.classes and not returned and '::' not in name:
            raise ValueError('no return type: ' + before)
        self.define(returned, '::'.join(self.classes + [name]) + parameters, tail, ' ' + body)

    def define(self, returned, what, tail, body):
        if returned in ('', 'void', 'bool', 'int', 'std::string', 'std::size_t'):
            text = f'{returned} {what}{tail}'.strip()
        elif '->' in tail:
            text = f'auto {what}{tail}'
        else:  # so that names of the class are found
            text = f'auto {what}{tail} -> {returned}'
        self.definitions.append(Definition(tuple(self.namespaces), text + body))

    def remember(self, head):
        """The name that a declaration in a namespace gives to the others; of an inner namespace, its own."""
        inner = [name.split()[-1] for name in self.namespaces if name.split()[-1] not in ('dtm', 'v1')]
        head = re.sub(r'^template\s*', '', head)
        if head.startswith('<'):
            head = head[angles_end(head, 0):]
        head = SPECIFIERS.sub('', head).strip()
        match = (re.match(r'(?:class|struct|enum(?: class)?|using)\s+(\w+)', head) or
                 re.match(r'[^=(]*?(\w+)\s*(?:\[\])?\s*[=({]', head) or re.match(r'.*?(\w+)\s*$', head, re.S))
        if match and not head.startswith('namespace'):
            self.names.add((inner[0] if inner else '', match.group(1)))
