"""The databases of cluster_test.py: how to ask them, and how to kill them and start them again. The servers are those of
tools/with_*.sh, whose variables say where they are."""
import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SQL = os.path.join(HERE, '..', '..', 'sql')


async def run(*command, text=None):
    """What the command prints."""
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                                                   stderr=asyncio.subprocess.PIPE)
    out, error = await process.communicate(text.encode() if text is not None else None)
    if process.returncode != 0:
        raise RuntimeError(f'{command[0]}: {error.decode().strip()}')
    return out.decode()


async def until(what, good, patience=60):
    end = time.monotonic() + patience
    while not await good():
        if time.monotonic() > end:
            raise RuntimeError(f'in {patience} s not: {what}')
        await asyncio.sleep(0.05)


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def kill_with_children(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        pids = [pid, *map(int, file.read().split())]
    for each in pids:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass


def is_zombie(pid):
    with open(f'/proc/{pid}/stat') as file:
        return file.read().rsplit(')', 1)[1].split()[0] == 'Z'


class Engine:
    """`ports`: for each coordinator, those of the servers that it may use."""

    def __init__(self, folder):
        self.folder, self.children = folder, []

    def start(self, command):
        with open(os.path.join(self.folder, 'servers.log'), 'a') as log:
            child = subprocess.Popen(['sh', '-c', command], stdout=log, stderr=log)
        self.children.append(child)
        return child

    def reap(self):
        self.children = [child for child in self.children if child.poll() is None]

    def end(self):
        for child in self.children:
            child.kill()
            child.wait()


class Postgres(Engine):
    faults = ('kill', 'stop', 'cut', 'silence', 'delay', 'restart', 'failover')

    def __init__(self, folder):
        super().__init__(folder)
        conninfo = dict(re.findall(r'(\w+)=(\S+)', os.environ['DTM_POSTGRES']))
        start, data = os.environ['DTM_POSTGRES_START'], os.environ['DTM_POSTGRES_DATA']
        self.sockets = conninfo['host']
        prefix, self.bin = re.match(r"exec (setpriv .*?)'([^']*)/postgres'", start).groups()
        self.prefix = prefix.split()
        start = start.replace('exec setpriv', 'exec setpriv --pdeathsig KILL').split(' >>')[0]  # has a log of its own
        standby = os.path.join(os.path.dirname(data), 'standby')
        self.servers = []
        for port, place in ((int(conninfo['port']), data), (free_port(), standby)):
            self.servers.append((port, place, start.replace(f"'{data}'", f"'{place}' -p {port} -c wal_retrieve_retry_interval=100ms")))
        self.ports = [[port for port, _, _ in self.servers]] * 3
        self.primary = 0

    def address(self, ports):
        return (f'host={",".join(["127.0.0.1"] * len(ports))} port={",".join(map(str, ports))} user=dtm dbname=postgres '
                'target_session_attrs=read-write')

    def business(self, _):
        return self.address([port for port, _, _ in self.servers])

    async def sql(self, text, server=None):
        port = self.servers[self.primary if server is None else server][0]
        out = await run('psql', '-X', '-q', '-A', '-t', '-F', '\t', '-v', 'ON_ERROR_STOP=1',
                        f'host={self.sockets} port={port} user=dtm dbname=postgres', text=text)
        return [line.split('\t') for line in out.splitlines()]

    async def prepare(self):
        for name in ('dtm.store.postgres.sql', 'dtmcli.barrier.postgres.sql'):
            with open(os.path.join(SQL, name)) as file:
                await self.sql(file.read())
        with open(os.path.join(HERE, 'cluster_postgres.sql')) as file:
            await self.sql(file.read())
        if 'failover' in self.faults:
            await self.add_standby()

    def pid(self):
        with open(os.path.join(self.servers[self.primary][1], 'postmaster.pid')) as file:
            return int(file.readline())

    async def ready(self, server):
        try:
            return bool(await self.sql('SELECT 1', server))
        except RuntimeError:
            return False

    async def start_until_ready(self, server):
        child = None

        async def ready():
            nonlocal child
            self.reap()  # as long as nobody has, a killed one counts as running
            if child is None or child.poll() is not None:
                child = self.start(self.servers[server][2])
            return await self.ready(server)
        await until('the server starts', ready)

    async def stop(self):
        """As its DBA in a hurry: without a checkpoint, and every session ends."""
        place = os.path.join(self.servers[self.primary][1], 'postmaster.pid')
        os.kill(self.pid(), signal.SIGQUIT)

        async def gone():
            self.reap()
            return not os.path.exists(place)
        await until('the server stops', gone)

    async def start_again(self):
        await self.start_until_ready(self.primary)

    async def add_standby(self):
        """Every commit waits for it."""
        other = 1 - self.primary
        place = self.servers[other][1]
        shutil.rmtree(place, ignore_errors=True)
        port = self.servers[self.primary][0]
        await run(*self.prefix, os.path.join(self.bin, 'pg_basebackup'), '-D', place, '-R', '-X', 'stream', '-c', 'fast', '--no-sync',
                  '-d', f'host={self.sockets} port={port} user=dtm')
        await self.start_until_ready(other)
        await self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await self.sql('SELECT pg_reload_conf()')
        await until('the standby follows', self.followed)

    async def followed(self):
        return await self.sql("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND "
                              "flush_lsn >= pg_current_wal_flush_lsn() - 100000") != []

    async def fail_over(self):
        await until('the standby follows', self.followed)
        kill_with_children(self.pid())
        self.reap()
        self.primary = 1 - self.primary
        await self.sql('SELECT pg_promote()')


class Mysql(Engine):
    """MariaDB; each coordinator uses one of `servers`."""

    def __init__(self, folder, database, servers):
        super().__init__(folder)
        self.database, self.servers = database, servers
        self.ports = [[servers[i % len(servers)]] for i in range(3)]

    def address(self, ports):
        return f'127.0.0.1:{ports[0]}/{self.database}'

    def business(self, coordinator):
        return self.address(self.ports[coordinator])

    async def sql(self, text):
        out = await run('mariadb', '--no-defaults', '-h', '127.0.0.1', '-P', str(self.servers[0]), '-u', 'root', '-N', '-B', '-r',
                        self.database, text=text)
        return [line.split('\t') for line in out.splitlines()]

    async def prepare(self):
        for name in (os.path.join(SQL, 'dtm.store.mysql.sql'), os.path.join(SQL, 'dtmcli.barrier.mysql.sql'),
                     os.path.join(HERE, 'cluster_mysql.sql')):
            with open(name) as file:
                await self.sql(file.read())


class Mariadb(Mysql):
    faults = ('kill', 'stop', 'cut', 'silence', 'delay', 'restart')

    def __init__(self, folder):
        super().__init__(folder, os.environ['DTM_MYSQL_DATABASE'], [int(os.environ['DTM_MYSQL_PORT'])])

    async def stop(self):
        with open(os.environ['DTM_MYSQL_PID']) as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGKILL)

        async def gone():
            self.reap()
            return not os.path.exists(f'/proc/{pid}') or is_zombie(pid)
        await until('the server stops', gone)
        os.unlink(os.environ['DTM_MYSQL_PID'])

    async def start_again(self):
        self.start(os.environ['DTM_MYSQL_START'].replace('exec ', 'exec setpriv --pdeathsig KILL ', 1))

        async def ready():
            try:
                return bool(await self.sql('SELECT 1'))
            except RuntimeError:
                return False
        await until('the server starts', ready)


class Galera(Mysql):
    """Each coordinator has a node of its own."""
    faults = ('kill', 'stop', 'cut', 'silence', 'delay')

    def __init__(self, folder):
        super().__init__(folder, os.environ['DTM_GALERA_DATABASE'],
                         [int(address.split(':')[1]) for address in os.environ['DTM_GALERA'].split()])

    async def sql(self, text):
        return await super().sql('SET SESSION wsrep_sync_wait = 1;\n' + text)


ENGINES = {'postgres': Postgres, 'mariadb': Mariadb, 'galera': Galera}
