#!/usr/bin/env python3
"""Three coordinators share a store under load: sagas, messages, tcc, workflows and xa, whose branches are functions and URLs. One
after the other they are killed, stopped and cut off from their database, and that is killed and fails over. Then all of them go on
until everything has ended, and cluster_checker.py judges what they, the service (cluster_branches.py) and the database wrote down.

Run it beside a server, with CYCLES=500 for long: tools/with_postgres.sh tests/survival/cluster_test.py postgres PROGRAM
"""
import argparse
import asyncio
import collections
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time

from cluster_checker import Change, ClusterChecker, Member, Row
from cluster_engines import ENGINES, until

HERE = os.path.dirname(os.path.abspath(__file__))
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
            str(test.seed), test.url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=test.errors)
        await self.hear('ready')

    async def hear(self, word):
        line = await asyncio.wait_for(self.process.stdout.readline(), self.test.patience)
        if line != f'{word}\n'.encode():
            raise RuntimeError(f'{self.life()} did not say that it is {word}')

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
        self.longest_stop = options.longest_stop
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
        self.patience = options.patience
        self.folder = tempfile.mkdtemp(prefix=f'dtm-cluster-{options.engine}-', dir=os.getcwd())
        self.errors = open(self.file('worker.err'), 'w')
        self.random = random.Random(self.seed)
        self.engine = ENGINES[options.engine](self.folder)
        self.engine.faults = [fault for fault in self.engine.faults if fault not in options.without.split(',')]
        self.log, self.done = [], collections.Counter()
        self.log_read, self.member_of = 0, {}
        self.long_stop, self.stopped, self.stops = None, None, []
        self.loads = []  # (time, load average, how late a timer of ours was)
        self.faults = []  # (begin, end, kind)

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
        self.service = await asyncio.create_subprocess_exec(
            'setpriv', '--pdeathsig', 'KILL', sys.executable, os.path.join(HERE, 'cluster_branches.py'), self.file('service.db'),
            self.file('worker.log'), stdout=asyncio.subprocess.PIPE)
        port = await asyncio.wait_for(self.service.stdout.readline(), self.patience)
        self.url = f'http://127.0.0.1:{int(port)}/'
        self.nodes = [Node(self, name, ports) for name, ports in zip('abc', self.engine.ports)]
        watch = asyncio.create_task(self.watch_load())
        try:
            await asyncio.gather(*(node.start() for node in self.nodes))
            await asyncio.sleep(1)
            for cycle, fault in zip(range(self.cycles), self.deck()):
                self.last = cycle == self.cycles - 1
                begin = now()
                await getattr(self, fault)(self.random.choice([node for node in self.nodes if node is not self.stopped]))
                self.faults.append((begin, now(), fault))
                self.done[fault] += 1
                await asyncio.sleep(self.random.uniform(0.2, 1.2))
                for node in self.nodes:
                    node.check()
            await self.end_long_stop()
            begin = time.monotonic()
            for node in self.nodes:
                node.process.stdin.write(b'quiet\n')
            for node in self.nodes:
                await node.hear('quiet')
            try:
                await until('everything ends', self.all_ended, self.patience)
            except RuntimeError:
                pass  # the checker says what did not
            self.drain_time = time.monotonic() - begin
            for node in self.nodes:
                await node.end()
        finally:
            watch.cancel()
            for process in [self.service] + [node.process for node in self.nodes]:
                if process is not None and process.returncode is None:
                    process.kill()
                    await process.wait()
        await self.read()

    async def watch_load(self):
        """Whether the machine was slow or the coordinators were."""
        while True:
            due = time.monotonic() + 0.1
            await asyncio.sleep(0.1)
            self.loads.append((now(), os.getloadavg()[0], time.monotonic() - due))

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
        """For longer than `longest`: one at a time, beside the faults of the others, as soon as these have taken over."""
        await node.dies('D')
        node.process.send_signal(signal.SIGSTOP)
        if self.longest_stop <= self.longest or self.stopped is not None or self.random.random() < 0.6:
            await self.go_on(node, self.outage())
            return
        self.stopped = node
        self.long_stop = asyncio.create_task(self.go_on(node, self.random.uniform(self.longest, self.longest_stop)))
        await asyncio.sleep(3 * LEASE)

    async def go_on(self, node, after):
        await asyncio.sleep(after)
        self.stops.append(after)
        self.log.append(f'C {now()} {node.life()}')
        node.process.send_signal(signal.SIGCONT)
        if node is self.stopped:
            self.stopped = None

    async def end_long_stop(self):
        if self.long_stop is not None:
            await self.long_stop

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
        with sqlite3.connect(self.file('service.db')) as service:
            self.effects += service.execute('SELECT gid, step, op FROM effect').fetchall()

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
        takeovers = sorted(checker.takeovers)
        if not takeovers:
            violations.append(('weak', '-', 'nothing was taken over'))
        elif takeovers[-1].time > WORST * 1e6:
            violations.append(('slow', '-', f'a takeover took {takeovers[-1].time / 1e6:.1f} s'))
        types = sorted({plan['type'] for plan in checker.plans.values()})
        for kind in ['claimed', 'requests'] + [(each, end) for each in types for end in ('succeed', 'failed')]:
            if counts[kind] == 0:
                violations.append(('weak', '-', f'0 x {kind}'))
        print(f'seed {self.seed}: {self.cycles} cycles:', ', '.join(f'{count} {fault}' for fault, count in self.done.items()))
        print(f'{counts["accepted"]} times accepted, {counts["refused"]} refused, {counts["in_doubt"]} in doubt; succeeded + failed:',
              ', '.join(f'{counts[each, "succeed"]} + {counts[each, "failed"]} {each}' for each in types))
        print(f'{counts["calls"]} calls, {counts["requests"]} of them by URL; {counts["late"]} stopped at their first line, '
              f'{counts["on_the_wire"]} on the wire; {counts["changes"]} changes, {counts["claimed"]} claimed')
        if self.stops:
            print(f'stopped for {", ".join(f"{each:.1f}" for each in sorted(self.stops))} s')
        if takeovers:
            alone = [each for each in takeovers if not self.meanwhile(each)]
            within = sum(each.time <= 2e6 for each in alone)
            print(f'first call after a death: {", ".join(f"{each.time / 1e6:.2f}" for each in takeovers[-20:])} s; {within} of '
                  f'{len(alone)} within 2 s, beside {len(takeovers) - len(alone)} before which the next fault began')
        for each in takeovers:
            if each.time > 2e6:
                self.tell_slow(each)
        print(f'all had ended {self.drain_time:.1f} s after the last was submitted')
        print('violations:', dict(collections.Counter(kind for kind, _, _ in violations)) or 0)
        for kind, gid, text in violations[:30]:
            print(f'  {kind}: {gid}: {text}')
        return not violations

    def meanwhile(self, takeover):
        """Faults that began between a death and the first call: who cannot reach the database soon takes nothing over."""
        return {kind for begin, end, kind in self.faults if takeover.at < begin <= takeover.at + takeover.time}

    def tell_slow(self, takeover):
        during = [(load, late) for at, load, late in self.loads if takeover.at <= at <= takeover.at + takeover.time]
        load, late = (max(values, default=0) for values in zip(*during)) if during else (0, 0)
        print(f'  {takeover.time / 1e6:.2f} s of {takeover.life}: heir after {takeover.inherited / 1e6:.2f} s, claimed after '
              f'{takeover.claimed / 1e6:.2f} s; load average {load:.1f}, our own timers were up to {late:.2f} s late; '
              f'meanwhile: {", ".join(self.meanwhile(takeover)) or "nothing"}')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('engine', choices=ENGINES)
    parser.add_argument('program', help='built from cluster_<engine>.cpp')
    parser.add_argument('--cycles', type=int, default=int(os.environ.get('CYCLES', '7')))
    parser.add_argument('--longest', type=float, default=5, help='seconds that a coordinator is away')
    parser.add_argument('--longest-stop', type=float, default=0, help='seconds; those beyond --longest go on beside other faults')
    parser.add_argument('--without', default='', help='faults that are left out, with commas: failover')
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
