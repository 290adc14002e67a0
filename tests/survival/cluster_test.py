#!/usr/bin/env python3
"""Three coordinators share a store under load. One after the other they are killed, stopped and cut off from their database, and
that is killed and fails over. Then all of them go on until everything has ended, and cluster_checker.py judges what they and the
database wrote down.

Run it beside a server, with CYCLES=500 for long: tools/with_postgres.sh tests/survival/cluster_test.py postgres PROGRAM
"""
import argparse
import asyncio
import collections
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from cluster_checker import Change, ClusterChecker, Member, Row
from cluster_engines import ENGINES, until

LEASE = 1.2  # s, the default
# A takeover is to be found within 2 s, which is reported; on a machine that does much else it takes longer.
WORST = 30.0


def now():
    return time.monotonic_ns() // 1000  # the clock of the logs


def clock_offset():
    """Of the database's clock from ours. Whoever sets the clock during the test is found out."""
    return min((time.time_ns() - time.monotonic_ns() for _ in range(100)), default=0) // 1000


class Proxy:
    """Between one coordinator and a server."""

    def __init__(self, port):
        self.server_port, self.port, self.delay = port, 0, 0.0
        self.open = asyncio.Event()  # else nothing passes, and nothing is closed
        self.open.set()
        self.refuses = False
        self.writers = set()

    async def listen(self):
        server = await asyncio.start_server(self.serve, '127.0.0.1', 0)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        writers = [writer]
        try:
            await self.open.wait()
            if self.refuses:
                return
            others = await asyncio.open_connection('127.0.0.1', self.server_port)
            writers.append(others[1])
            self.writers.update(writers)
            await asyncio.gather(self.pump(reader, others[1]), self.pump(others[0], writer))
        except OSError:
            pass
        finally:
            for each in writers:
                self.writers.discard(each)
                each.transport.abort()

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await self.open.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        finally:
            if not writer.is_closing():
                writer.close()  # the other way ends with it

    def cut(self):
        self.refuses = True
        for writer in self.writers:
            writer.transport.abort()

    def heal(self):
        self.refuses, self.delay = False, 0.0
        self.open.set()


class Node:
    """A coordinator, in one life after the other."""

    def __init__(self, test, name, ports):
        self.test, self.name, self.lives, self.process = test, name, 0, None
        self.proxies = [Proxy(port) for port in ports]

    async def start(self):
        self.lives += 1
        test = self.test
        if not self.proxies[0].port:
            for proxy in self.proxies:
                await proxy.listen()
        store = test.engine.address([proxy.port for proxy in self.proxies])
        self.process = await asyncio.create_subprocess_exec(
            'setpriv', '--pdeathsig', 'KILL', test.program, store, test.engine.business('abc'.index(self.name)), test.file('worker.log'), self.life(),
            str(test.seed), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=test.errors)
        line = await asyncio.wait_for(self.process.stdout.readline(), test.patience)
        if line != b'ready\n':
            raise RuntimeError(f'{self.life()} did not become ready')

    def life(self):
        return f'{self.name}{self.lives}'

    async def dies(self, kind):
        """When it has something to leave behind."""
        await until(f'{self.life()} drives something', self.drives)
        self.test.log.append(f'{kind} {now()} {self.life()}')

    async def drives(self):
        self.test.read_members()
        member = self.test.member_of[self.life()]
        count = await self.test.engine.sql(f'SELECT count(*) FROM dtm_trans WHERE due IS NOT NULL AND owner = {member}')
        return int(count[0][0]) >= 2

    def check(self):
        if self.process.returncode is not None:
            raise RuntimeError(f'{self.life()} has ended by itself, with {self.process.returncode}')

    async def end(self):
        self.process.stdin.close()
        status = await asyncio.wait_for(self.process.wait(), self.test.patience)
        if status != 0:
            raise RuntimeError(f'{self.life()} ended with {status}')


class Test:
    def __init__(self, options):
        self.program, self.cycles, self.longest = os.path.abspath(options.program), options.cycles, options.longest
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
        self.patience = options.patience
        self.folder = tempfile.mkdtemp(prefix=f'dtm-cluster-{options.engine}-', dir=os.getcwd())
        self.errors = open(self.file('worker.err'), 'w')
        self.random = random.Random(self.seed)
        self.engine = ENGINES[options.engine](self.folder)
        self.log, self.done = [], collections.Counter()
        self.log_read, self.member_of = 0, {}

    def file(self, name):
        return os.path.join(self.folder, name)

    def read_members(self):
        """Only what is new in the log: the proxies wait meanwhile."""
        with open(self.file('worker.log')) as file:
            file.seek(self.log_read)
            while (line := file.readline()).endswith('\n'):
                self.log_read = file.tell()
                if line.startswith('M '):
                    _, _, life, member = line.split()
                    self.member_of[life] = int(member)

    def deck(self):
        """Each fault, in any order, and again."""
        while True:
            faults = list(self.engine.faults)
            self.random.shuffle(faults)
            yield from faults

    async def run(self):
        await self.engine.prepare()
        self.offset = clock_offset()
        self.nodes = [Node(self, name, ports) for name, ports in zip('abc', self.engine.ports)]
        try:
            await asyncio.gather(*(node.start() for node in self.nodes))
            await asyncio.sleep(1)
            for cycle, fault in zip(range(self.cycles), self.deck()):
                self.last = cycle == self.cycles - 1
                await getattr(self, fault)(self.random.choice(self.nodes))
                self.done[fault] += 1
                await asyncio.sleep(self.random.uniform(0.2, 1.2))
                for node in self.nodes:
                    node.check()
            begin = time.monotonic()
            for node in self.nodes:
                node.process.stdin.write(b'quiet\n')
            try:
                await until('everything ends', self.all_ended, self.patience)
            except RuntimeError:
                pass  # the checker says what did not
            self.drain_time = time.monotonic() - begin
            for node in self.nodes:
                await node.end()
        finally:
            for node in self.nodes:
                if node.process is not None and node.process.returncode is None:
                    node.process.kill()
                    await node.process.wait()
        await self.read()

    async def all_ended(self):
        return await self.engine.sql('SELECT count(*) FROM dtm_trans WHERE due IS NOT NULL') == [['0']]

    def outage(self):
        """Every other one is shorter than a lease."""
        return self.random.uniform(0.3, LEASE) if self.random.random() < 0.4 else self.random.uniform(LEASE, self.longest)

    async def kill(self, node):
        await node.dies('K')
        node.process.kill()
        await node.process.wait()
        await asyncio.sleep(self.outage())
        await node.start()

    async def stop(self, node):
        await node.dies('D')
        node.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.outage())
        self.log.append(f'C {now()} {node.life()}')
        node.process.send_signal(signal.SIGCONT)

    async def cut(self, node):
        await node.dies('D')
        for proxy in node.proxies:
            proxy.cut()
        await asyncio.sleep(self.outage())
        for proxy in node.proxies:
            proxy.heal()

    async def silence(self, node):
        await node.dies('D')
        for proxy in node.proxies:
            proxy.open.clear()
        await asyncio.sleep(self.outage())
        for proxy in node.proxies:
            proxy.heal()

    async def delay(self, node):
        for proxy in node.proxies:
            proxy.delay = self.random.uniform(0.02, 0.4)
        await asyncio.sleep(self.outage())
        for proxy in node.proxies:
            proxy.heal()

    async def restart(self, _):
        await self.engine.stop()
        await asyncio.sleep(self.random.uniform(0, 1.5))
        await self.engine.start_again()

    async def failover(self, _):
        await self.engine.fail_over()
        if not self.last:
            await asyncio.sleep(1)
            await self.engine.add_standby()

    async def read(self):
        sql = self.engine.sql
        numbers = lambda values: [None if value in ('', 'NULL') else int(value) for value in values]
        self.rows = [Row(int(number), gid, *numbers(rest[:-1]), rest[-1] == '1') for number, gid, *rest in await sql(
            'SELECT id, gid, version, status, owner, CASE WHEN due IS NULL THEN 1 ELSE 0 END FROM dtm_trans')]
        self.changes = [Change(int(number), gid, *numbers(rest[:-1]), int(rest[-1]) - self.offset) for number, gid, *rest in await sql(
            'SELECT id, gid, version0, version1, owner0, owner1, status0, status1, at FROM changed')]
        self.members = [Member(*numbers(rest), int(at) - self.offset) for *rest, at in await sql(
            'SELECT id, heir0, heir1, at FROM member_changed')]
        self.effects = [(gid, int(step), op) for gid, step, op in await sql('SELECT gid, step, op FROM effect')]

    def dump(self):
        for name in ('log', 'rows', 'changes', 'members', 'effects'):
            with open(self.file(name), 'w') as file:
                file.writelines(f'{line}\n' for line in getattr(self, name))

    def judge(self):
        self.dump()
        checker = ClusterChecker()
        with open(self.file('worker.log')) as file:
            checker.read_log(file.read().splitlines() + self.log)
        checker.read_database(self.rows, self.changes, self.members, self.effects)
        violations = checker.check()
        if abs(clock_offset() - self.offset) > 2000:
            violations.append(('clock', '-', 'somebody set the clock of this machine'))
        counts = checker.counts
        takeovers = sorted(time for time, _, _ in checker.takeovers)
        if not takeovers:
            violations.append(('weak', '-', 'nothing was taken over'))
        elif takeovers[-1] > WORST * 1e6:
            violations.append(('slow', '-', f'a takeover took {takeovers[-1] / 1e6:.1f} s'))
        for kind in ('succeed', 'failed', 'claimed'):
            if counts[kind] == 0:
                violations.append(('weak', '-', f'0 x {kind}'))
        print(f'seed {self.seed}: {self.cycles} cycles:', ', '.join(f'{count} {fault}' for fault, count in self.done.items()))
        print(f'{counts["accepted"]} accepted, {counts["refused"]} refused, {counts["in_doubt"]} in doubt; {counts["succeed"]} succeeded, '
              f'{counts["failed"]} failed; {counts["calls"]} calls, {counts["late"]} of them stopped at their first line, {counts["changes"]} changes, '
              f'{counts["claimed"]} claimed')
        if takeovers:
            within = sum(time <= 2e6 for time in takeovers)
            print(f'first call after a death: {", ".join(f"{time / 1e6:.2f}" for time in takeovers[-20:])} s; {within} of '
                  f'{len(takeovers)} within 2 s')
        print(f'all had ended {self.drain_time:.1f} s after the last was submitted')
        print('violations:', dict(collections.Counter(kind for kind, _, _ in violations)) or 0)
        for kind, gid, text in violations[:30]:
            print(f'  {kind}: {gid}: {text}')
        return not violations


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('engine', choices=ENGINES)
    parser.add_argument('program', help='built from cluster_<engine>.cpp')
    parser.add_argument('--cycles', type=int, default=int(os.environ.get('CYCLES', '7')))
    parser.add_argument('--longest', type=float, default=5, help='seconds that a coordinator is away')
    parser.add_argument('--seed', type=int)
    parser.add_argument('--patience', type=float, default=120, help='seconds to wait for anything')
    parser.add_argument('--keep', action='store_true', help='keep the files')
    options = parser.parse_args()
    begin = time.monotonic()
    test = Test(options)
    good = False
    try:
        asyncio.run(test.run())
        good = test.judge()
    except Exception as error:  # pylint: disable=broad-except
        print(f'seed {test.seed}: {type(error).__name__}: {error}')
    finally:
        test.engine.end()
        test.errors.close()
    if not good:
        with open(test.file('worker.err')) as file:
            print(''.join(line for line in file if not line.startswith('dtm info: '))[-4000:])
    print(f'{time.monotonic() - begin:.1f} s')
    if good and not options.keep:
        shutil.rmtree(test.folder)
    else:
        print(f'the logs are in {test.folder}')
    sys.exit(0 if good else 1)


if __name__ == '__main__':
    main()
