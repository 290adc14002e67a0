#!/usr/bin/env python3
"""Runs real clients of dtm against a server: ours, or dtm's own, written in Go.

  run.py --build DIR [go] [python] [PROGRAM...]      the clients to run (go and python if none is named)
    --server ours|go         ours needs --server-binary; go is made by tools/go_dtm.sh if no binary is given
    --server-binary PATH
    --shared                 two servers of ours on one database, each request to one of them by chance; `crash` kills the
                             one that drives what came last. Run it by tools/with_postgres.sh or tools/with_mariadb.sh
    --database postgres|mysql  which, for --shared (postgres)
    --command                what is named is one command, which finds the URL of --shared in DTM_COORDINATOR, and no client
    --seed N                 repeats what chance decides
    --prepare                only installs and builds what the run needs, below DIR; once, it takes a minute

For each client a server is started on a free port of the loopback, with fresh data. The client is called as
`PROGRAM URL ours|go`. It runs scenarios and prints for each a line `ok NAME` or `FAILED NAME: WHY`. When it prints
`crash`, the server is killed and started again on the same data, then the client reads a line `ready`. It exits with 0
when it has come to its end, whatever the scenarios did.

Needs: Go >= 1.19 and pip (on Debian they are installed if missing); what the clients need is downloaded by them.
"""
import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent.parent / 'tools'
sys.path.insert(0, str(HERE.parent / 'support'))
sys.dont_write_bytecode = True

from either import Either  # pylint: disable=wrong-import-position


class Problem(Exception):
    """What the user should read, without a trace."""


# --- what the clients need ---


def install(package, found):
    if not found():
        subprocess.run(['bash', '-c', f'. "{TOOLS}/install_packages.sh" && install_packages {package}'], check=False)
    if not found():
        raise Problem(f'{package} (its name in Debian) is missing; please install it.')


def prepare_go(build):
    install('golang', lambda: shutil.which('go'))
    env = {**os.environ, 'GOMODCACHE': str(build / 'go_modules'), 'CGO_ENABLED': '0',
           'GOTOOLCHAIN': 'local',  # the Go that is there will do, do not fetch another
           'GOFLAGS': '-mod=readonly -buildvcs=false -modcacherw'}  # rw: so that the build directory can be removed
    for program, package in (('go_client', '.'), ('go_bank', './bank')):
        subprocess.run(['go', 'build', '-o', str(build / program), package], cwd=HERE / 'go', env=env, check=True)


def install_python(target, wanted):
    """Installs the packages that the file `wanted` names below `target`, and returns that."""
    done = target / 'installed.txt'
    if done.exists() and done.read_text() == wanted.read_text():
        return target
    pip = [sys.executable, '-m', 'pip']
    install('python3-pip', lambda: subprocess.run([*pip, '--version'], capture_output=True, check=False).returncode == 0)
    shutil.rmtree(target, ignore_errors=True)
    # --target: needs neither venv nor the permission to change the Python of the system.
    subprocess.run([*pip, 'install', '--quiet', '--disable-pip-version-check', '--no-input', '--root-user-action=ignore',
                    '--target', str(target), '-r', str(wanted)], check=True)
    done.write_text(wanted.read_text())
    return target


def command(client, build):
    """How to start a client."""
    if client == 'go':
        return [str(build / 'go_client')], {}
    if client == 'python':
        return [sys.executable, str(HERE / 'python/main.py')], {
            'PYTHONPATH': str(build / 'python'), 'PYTHONDONTWRITEBYTECODE': '1', 'PYTHONUNBUFFERED': '1'}
    return [client], {}


def go_server():
    made = subprocess.run([str(TOOLS / 'go_dtm.sh')], stdout=subprocess.PIPE, text=True, check=True)
    return made.stdout.strip()


# --- the server ---


def free_port():
    # Below those that the system gives to outgoing connections: one of them could take the port while the server is down.
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', port))
                return port
            except OSError:
                pass


class Server:
    """One server with data of its own, and its lives. Used with `with`."""

    def __init__(self, kind, binary):
        self.kind = self.title = kind
        self.binary, self.port, self.process = str(Path(binary).resolve()), free_port(), None
        self.url = f'http://127.0.0.1:{self.port}/api/dtmsvr'

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix='dtm-interop.')
        self.log = open(f'{self.directory}/server.log', 'ab')
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def store(self):
        return ['--db', 'saga.db'], {}

    def start(self):
        if self.kind == 'ours':
            store, env = self.store()
            what = [self.binary, *store, '--listen', f'127.0.0.1:{self.port}']
        else:  # it listens at every address of the machine, which cannot be changed; its data is dtm.bolt
            what, env = [self.binary], {'HTTP_PORT': str(self.port), 'GRPC_PORT': str(free_port()),
                                        'JSON_RPC_PORT': str(free_port()), 'STORE_DRIVER': 'boltdb', 'LOG_LEVEL': 'warn'}
        self.process = subprocess.Popen(what, cwd=self.directory, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        end = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f'{self.url}/newGid', timeout=5):
                    return
            except OSError as error:
                if self.process.poll() is not None:
                    raise Problem(f'the server ended at its start with {self.process.returncode}:\n{self.tail()}') from error
                if time.monotonic() > end:
                    raise Problem(f'the server did not answer within 30 s ({error}):\n{self.tail()}') from error
            time.sleep(0.02)

    def crash(self):
        if self.process.poll() is not None:
            raise Problem(f'the server ended by itself with {self.process.returncode}:\n{self.tail()}')
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self):
        """Returns what was wrong about it, or None."""
        if self.process.poll() is not None:
            return f'the server ended by itself with {self.process.returncode}'
        if self.kind == 'go':  # how it stops is not our matter, and sometimes takes it 6 s
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            return 'the server does not stop within 15 s after SIGTERM'
        return f'the server exits with {code} after SIGTERM' if code != 0 else None

    def tail(self):
        lines = Path(f'{self.directory}/server.log').read_text(encoding='utf-8', errors='replace').splitlines()
        return '\n'.join(f'    server: {line}' for line in lines[-20:])

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class Node(Server):
    """One of those that share a database."""

    def __init__(self, binary, database, name):
        super().__init__('ours', binary)
        self.database, self.name = database, name

    def store(self):
        return ['--store', self.database], {'NODE_NAME': self.name}


class Postgres:
    """A new database on the server of tools/with_postgres.sh."""

    def __init__(self, name):
        self.url = f'{os.environ["DTM_POSTGRES"]} dbname={name}'
        self.ask(f'CREATE DATABASE {name}', os.environ['DTM_POSTGRES'])

    def ask(self, text, url=None):
        return subprocess.run(['psql', '-qAtX', url or self.url, '-c', text], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Mysql:
    """The same, of tools/with_mariadb.sh."""

    def __init__(self, name):
        self.name, env = name, os.environ
        self.url = f'mysql://{env["DTM_MYSQL_USER"]}@{env["DTM_MYSQL_HOST"]}:{env["DTM_MYSQL_PORT"]}/{name}'
        self.ask(f'CREATE DATABASE {name}', 'mysql')

    def ask(self, text, name=None):
        return subprocess.run(['mariadb', '--no-defaults', f'--socket={os.environ["DTM_MYSQL_SOCKET"]}', '-u', os.environ['DTM_MYSQL_USER'],
                               '-Ne', text, name or self.name], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


DATABASES = {'postgres': Postgres, 'mysql': Mysql}


class Pair:
    """Two servers on one database, which look like one."""
    kind, databases = 'ours', 0

    def __init__(self, binary, database, seed):
        Pair.databases += 1
        self.title = f'two of ours on {database}'
        self.database = DATABASES[database](f'interop_{os.getpid()}_{Pair.databases}')
        self.nodes = [Node(binary, self.database.url, str(number)) for number in range(2)]
        self.random, self.crashes = random.Random(seed), [0, 0]
        self.front = Either([node.port for node in self.nodes], seed)

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for part in (*self.nodes, self.front):
                stack.enter_context(part)
            self.stack = stack.pop_all()
        self.port = self.front.port
        self.url = f'http://127.0.0.1:{self.port}/api/dtmsvr'
        return self

    def crash(self):
        """Of the one that drives what came last."""
        name = self.database.ask('SELECT name FROM dtm_trans t JOIN dtm_node n ON n.id = owner WHERE due IS NOT NULL '
                                 'ORDER BY t.id DESC LIMIT 1')
        which = int(name) if name else self.random.randrange(2)
        self.crashes[which] += 1
        self.nodes[which].crash()

    def stop(self):
        print(f'    requests: {self.front.counts}, crashes: {self.crashes}', flush=True)
        return next(filter(None, [node.stop() for node in self.nodes]), None)

    def tail(self):
        return '\n'.join(node.tail() for node in self.nodes)

    def __exit__(self, *_):
        self.stack.close()


# --- the run ---


class Report:
    passed = failed = 0

    def add(self, client, line, seconds):
        word, _, rest = line.partition(' ')
        if word == 'ok':
            self.passed += 1
            print(f'ok {client} {rest} ({seconds:.1f} s)', flush=True)
        else:
            self.failed += 1
            print(f'FAILED {client} {rest}', flush=True)


def run(client, build, server, report):
    name, begin, failed = Path(client).name, time.monotonic(), report.failed
    what, env = command(client, build)
    process = subprocess.Popen([*what, server.url, server.kind], env={**os.environ, **env}, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    # A client that hangs: scenarios have deadlines of their own, so this is the last resort.
    watchdog = threading.Timer(240 if server.kind == 'ours' else 800, process.kill)
    watchdog.start()
    try:
        for line in map(str.strip, process.stdout):
            if line == 'crash':
                server.crash()
                process.stdin.write('ready\n')
                process.stdin.flush()
            elif line.partition(' ')[0] in ('ok', 'FAILED'):
                report.add(name, line, time.monotonic() - begin)
                begin = time.monotonic()
            else:
                print(f'    {name}: {line}', flush=True)
        if process.wait() != 0:
            report.add(name, f'FAILED to_the_end: the client ended early, with {process.returncode}', 0)
        wrong = server.stop()
        report.add(name, f'FAILED server_at_the_end: {wrong}' if wrong else 'ok server_at_the_end', time.monotonic() - begin)
        if report.failed > failed:
            print(server.tail(), flush=True)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=Path, required=True)
    parser.add_argument('--server', choices=['ours', 'go'], default='ours')
    parser.add_argument('--server-binary')
    parser.add_argument('--shared', action='store_true')
    parser.add_argument('--database', choices=DATABASES, default='postgres')
    parser.add_argument('--command', action='store_true')
    parser.add_argument('--seed', type=int, default=random.randrange(1000000))
    parser.add_argument('--prepare', action='store_true')
    parser.add_argument('clients', nargs='*', default=['go', 'python'])
    args = parser.parse_args()
    build = args.build.resolve()
    build.mkdir(parents=True, exist_ok=True)
    report = Report()
    # Whatever proxy the downloads go through, the loopback needs none.
    os.environ['no_proxy'] = ','.join(filter(None, [os.environ.get('no_proxy'), '127.0.0.1']))
    try:
        if 'go' in args.clients:
            prepare_go(build)
        if 'python' in args.clients:
            install_python(build / 'python', HERE / 'python/requirements.txt')
        binary = args.server_binary or (go_server() if args.server == 'go' else None)
        if args.prepare:
            return 0
        if not binary:
            raise Problem('--server ours needs --server-binary, the path of dtm-server')
        if args.shared:
            print(f'seed {args.seed}', flush=True)
        if args.command:
            with Pair(binary, args.database, args.seed) as pair:
                done = subprocess.run(args.clients, env={**os.environ, 'DTM_COORDINATOR': pair.url}, check=False)
                wrong = pair.stop() or (f'it ends with {done.returncode}' if done.returncode else None)
                if wrong:
                    print(pair.tail())
                report.add(Path(args.clients[0]).name, f'FAILED command: {wrong}' if wrong else 'ok command', 0)
            args.clients = []
        for client in args.clients:
            with Pair(binary, args.database, args.seed) if args.shared else Server(args.server, binary) as server:
                run(client, build, server, report)
    except (Problem, OSError, subprocess.CalledProcessError) as problem:
        report.add('run.py', f'FAILED: {problem}', 0)
    print(f'{report.passed} passed, {report.failed} failed')
    return 0 if report.failed == 0 and report.passed > 0 else 1


if __name__ == '__main__':
    sys.exit(main())
