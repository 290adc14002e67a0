"""What the tools share: the headers, their includes, and how this build compiles them."""
import json
import re
import shlex
import sys
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = ROOT / 'include'
DRIVERS = ('postgres', 'mysql', 'redis')  # what the files that need the driver of a database are named after
INCLUDE_LINE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def all_headers():
    """Every header of dtm, as it is written in an #include: 'dtm/core/types.hpp'."""
    return sorted(str(path.relative_to(INCLUDE)) for path in INCLUDE.rglob('*.hpp'))


@lru_cache(maxsize=None)
def read(header):
    return (INCLUDE / header).read_text(encoding='utf-8')


@lru_cache(maxsize=None)
def includes(header):
    """(line number, '<' or '"', name) of every #include of a header."""
    matches = ((number, INCLUDE_LINE.match(line)) for number, line in enumerate(read(header).splitlines(), 1))
    return [(number, match.group(1), match.group(2)) for number, match in matches if match]


def room(header):
    """'core' of 'dtm/core/types.hpp', 'http/wire' of 'dtm/http/wire/names.hpp'; '' for the umbrella headers."""
    return '/'.join(header.split('/')[1:-1])


def reachable(umbrella):
    """The headers of dtm that `umbrella` includes, each after those it includes itself, and itself last."""
    order, seen = [], set()

    def visit(header):
        if header in seen:
            return
        seen.add(header)
        for _, _, name in includes(header):
            if name.startswith('dtm/') and (INCLUDE / name).exists():
                visit(name)
        order.append(header)

    visit(umbrella)
    return order


def compile_command(build, target):
    """The command with which `build` compiles all headers (tests/CMakeLists.txt, targets odr and odr_http),
    without the file, the output and ccache."""
    database = Path(build) / 'compile_commands.json'
    if not database.exists():
        sys.exit(f'{database} does not exist: configure first (cmake --preset default) and name the build directory.')
    for entry in json.loads(database.read_text(encoding='utf-8')):
        if Path(entry['file']).name == target + '.cpp':
            words = shlex.split(entry['command'])
            if 'ccache' in Path(words[0]).name:
                words = words[1:]
            return [word for word in words[:words.index('-o')] if word != '-c']
    sys.exit(f'{database} has no {target}.cpp: configure again with -DDTM_TESTS=ON.')


def finish(problems, all_good):
    """Ends a check: every problem on a line of its own, or one line that says what was checked."""
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(f'{len(problems)} problem(s).')
    print(all_good)
