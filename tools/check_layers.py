#!/usr/bin/env python3
"""Checks that includes go one way, and that what is dear or not portable stays in its room.

The table is the architecture, and the drawing in docs/architecture.md is checked by it; change both together.
"""
import fnmatch
import re
from collections import Counter

from headers import ROOT, all_headers, finish, includes, read, room

# room: the rooms whose headers it may include. A room inside a room has a line of its own.
MAY_INCLUDE = {
    'base': [],
    'core': ['base'],
    'client': ['base', 'core'],
    'observe': ['base', 'core', 'text'],
    'engine': ['base', 'core'],
    'text': ['base'],
    'timeline/drawing': ['base'],
    'timeline': ['base', 'core', 'text', 'timeline/drawing'],
    'sql': ['base'],
    'store': ['base', 'core'],
    'store/sqlite': ['base', 'core', 'sql', 'store'],
    'store/shared': ['base', 'core', 'sql', 'store'],
    'store/postgres': ['base', 'core', 'sql', 'store', 'store/shared'],
    'store/mysql': ['base', 'core', 'sql', 'store', 'store/shared'],
    'barrier': ['base', 'core', 'sql'],
    'barrier/xa': ['base', 'core', 'sql', 'barrier'],
    'outbox': ['base', 'core', 'client', 'sql', 'store', 'coordinator/parts'],
    'coordinator/parts': ['base', 'core', 'observe', 'engine', 'store'],
    'coordinator/hooks': ['base', 'core', 'observe', 'store', 'coordinator/parts'],
    'coordinator/functions': ['base', 'core', 'coordinator/parts'],
    'coordinator/state': ['base', 'core', 'observe', 'engine', 'store', 'coordinator/parts', 'coordinator/hooks'],
    'coordinator/commands': ['base', 'core', 'engine', 'store', 'coordinator/state'],
    'coordinator/loop': ['base', 'core', 'observe', 'engine', 'store', 'coordinator/parts', 'coordinator/functions', 'coordinator/hooks',
                         'coordinator/state', 'coordinator/commands'],
    'coordinator': ['base', 'core', 'observe', 'timeline', 'engine', 'store', 'coordinator/parts', 'coordinator/functions', 'coordinator/hooks',
                    'coordinator/state', 'coordinator/loop'],
    'http/wire': ['base', 'core', 'text'],
    'http/http1': ['base'],
    'http/transport': ['base'],
    'http/hosts': ['base', 'core', 'http/http1', 'http/transport'],
    'http/api/numbers': ['base', 'core', 'coordinator/parts', 'http/wire'],
    'http/api': ['base', 'core', 'observe', 'timeline', 'coordinator', 'coordinator/parts', 'http/wire', 'http/http1', 'http/api/numbers'],
    'http/desk': ['http/http1', 'http/api'],
    'http/serving': ['base', 'core', 'coordinator', 'http/http1', 'http/transport', 'http/api'],
    'http/httplib': ['base', 'core', 'barrier', 'coordinator', 'http/wire', 'http/api'],
    'http/calls': ['base', 'core', 'observe', 'coordinator/parts', 'http/wire', 'http/http1', 'http/transport', 'http/hosts'],
    'http/remote': ['base', 'core', 'http/wire', 'http/http1', 'http/hosts'],
    'http': ['base', 'core', 'coordinator', 'coordinator/parts', 'http/wire', 'http/http1', 'http/transport', 'http/hosts', 'http/api',
             'http/desk', 'http/serving', 'http/calls', 'http/remote'],
    'testing/incident': ['base', 'core', 'text', 'timeline'],
    'testing': ['base', 'core', 'timeline', 'sql', 'store', 'store/shared', 'coordinator', 'coordinator/parts', 'coordinator/state', 'testing/incident'],
}
# header: what it may include besides, and why.
EXCEPT = {'dtm/coordinator/coordinator.hpp': ('dtm/store/sqlite/sqlite_store.hpp', 'its constructor that takes the name of a file')}
MAX_HEADERS = 12  # of a room; with more it holds two things
# The umbrellas are for programs; only they may include each other.
UMBRELLAS = ['dtm/dtm.hpp', 'dtm/http.hpp', 'dtm/httplib.hpp']

# header from outside: the only places that may include it, and why.
ONLY_IN = {
    'httplib.h': (['dtm/http/httplib/*'], 'it costs seconds of compile time'),
    'openssl/*': (['dtm/http/tls.hpp'], 'programs without https need no OpenSSL'),
    'libpq-fe.h': (['dtm/sql/postgres.hpp'], 'programs choose their database by the file they include'),
    'mysql.h': (['dtm/sql/mysql.hpp'], 'programs choose their database by the file they include'),
    'hiredis*': (['dtm/barrier/redis_barrier.hpp'], 'programs choose their database by the file they include'),
    'sqlite3.h': (['dtm/sql/*'], 'programs choose their database by the file they include'),
    **dict.fromkeys(
        ['unistd.h', 'fcntl.h', 'poll.h', 'pthread.h', 'signal.h', 'netdb.h', 'sys/*', 'netinet/*', 'arpa/*', 'linux/*'],
        (['dtm/base/os.hpp', 'dtm/http/*'], 'so that another system is a port of one file')),
}


# Words of one database in any case, outside of comments, texts and includes: the contract of stores and the coordinator know
# none. The one exception is the constructor of EXCEPT.
NAMED_ONLY_IN = {'sqlite': ['dtm/sql/*', 'dtm/store/sqlite/*', 'dtm/barrier/sqlite_*', 'dtm/coordinator/coordinator.hpp']}


def direction_problems():
    for header in all_headers():
        if not room(header):
            if header not in UMBRELLAS:
                yield f'{header}: a header belongs in a room, as include/dtm/<room>/<name>.hpp; the umbrellas are {", ".join(UMBRELLAS)}.'
            continue
        if room(header) not in MAY_INCLUDE:
            yield f'{header}: the room {room(header)} is not in the table of tools/check_layers.py; add it there and to docs/architecture.md.'
            continue
        for line, quote, name in includes(header):
            where = f'include/{header}:{line}'
            if quote == '"':
                yield f'{where}: write #include <dtm/...> instead of "{name}".'
            elif name in UMBRELLAS:
                yield f'{where}: a header of a room must not include the umbrella {name}; include the headers it uses.'
            elif name.startswith('dtm/') and room(name) not in [room(header)] + MAY_INCLUDE[room(header)] and name != EXCEPT.get(header, ('',))[0]:
                allowed = ', '.join(MAY_INCLUDE[room(header)]) or 'no other room'
                yield (f'{where}: {room(header)} must not include {room(name)} ({name}); it may include {allowed}. '
                       'Move what is needed down, or pass it in through an interface of core.')


def place_problems():
    for header in all_headers():
        for line, _, name in includes(header):
            for pattern, (places, reason) in ONLY_IN.items():
                if fnmatch.fnmatch(name, pattern) and not any(fnmatch.fnmatch(header, place) for place in places):
                    yield f'include/{header}:{line}: <{name}> may be included only in {", ".join(places)}: {reason}.'


def name_problems():
    for header in all_headers():
        for number, line in enumerate(read(header).splitlines(), 1):
            code = re.sub('"[^"]*"|^#include.*', '', line).split('//')[0].lower()
            for word, places in NAMED_ONLY_IN.items():
                if word in code and not any(fnmatch.fnmatch(header, place) for place in places):
                    yield f'include/{header}:{number}: {word} is named only in {", ".join(places)}; the contract of stores names no database.'


def size_problems():
    for name, count in Counter(map(room, all_headers())).items():
        if count > MAX_HEADERS:
            yield f'include/dtm/{name}: {count} headers, {MAX_HEADERS} is the limit; divide the room, or move what belongs elsewhere.'


def cycle_problems():
    """Also inside a room no header may come back to itself."""
    state = {}

    def visit(header, path):
        if state.get(header) == 'done' or header not in known:
            return
        if header in path:
            yield 'include cycle: ' + ' -> '.join(path[path.index(header):] + [header]) + '. Move what both need into a third header.'
            return
        for _, _, name in includes(header):
            yield from visit(name, path + [header])
        state[header] = 'done'

    known = set(all_headers())
    for header in sorted(known):
        yield from visit(header, [])


def reachable_rooms(start, without=None):
    """The rooms that lead on from `start`, by the table; `without`: one arrow that is not taken."""
    found, todo = set(), [start]
    while todo:
        source = todo.pop()
        for target in MAY_INCLUDE[source]:
            if (source, target) != without and target not in found:
                found.add(target)
                todo.append(target)
    return found


def drawing_problems():
    """The arrows of docs/architecture.md are those of the table, without what other arrows lead to; the dotted ones are EXCEPT."""
    wanted = {(source, target) for source, targets in MAY_INCLUDE.items() for target in targets
              if target not in reachable_rooms(source, without=(source, target))}
    dotted = {(room(source), room(target)) for source, (target, _) in EXCEPT.items()}
    text = (ROOT / 'docs/architecture.md').read_text(encoding='utf-8').split('```mermaid\n')[1].split('```')[0]
    ids = {name.replace('/', '_'): name for name in MAY_INCLUDE}
    drawn = {'-->': set(), '-.->': set()}
    for source, arrow, targets in re.findall(r'^ *(\w+) (-->|-\.->) (.+)$', text, re.M):
        for target in targets.split(' & '):
            drawn[arrow].add((ids.get(source, source), ids.get(target, target)))
    boxes = {ids.get(name, name) for name in re.findall(r'^ *(\w+)\["', text, re.M)}
    where = 'docs/architecture.md: the drawing of the rooms'
    for name in sorted(boxes ^ set(MAY_INCLUDE)):
        yield f'{where} and the table in tools/check_layers.py: {name} is only in one of them.'
    for arrow, arrows in (('-->', wanted), ('-.->', dotted)):
        for source, target in sorted(arrows - drawn[arrow]):
            yield f'{where}: the arrow {source} {arrow} {target} is missing.'
        for source, target in sorted(drawn[arrow] - arrows):
            yield f'{where}: the arrow {source} {arrow} {target} is not in the table, or other arrows lead there too.'


finish([*direction_problems(), *place_problems(), *name_problems(), *size_problems(), *cycle_problems(), *drawing_problems()],
       f'{len(all_headers())} headers: includes go one way, without cycles.')
