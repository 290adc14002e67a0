#!/usr/bin/env python3
"""Kills a coordinator at random moments under load, starts it again on the same file, and checks from outside that
nothing was lost, half done or changed.

The process that is killed is tests/survival/worker.cpp. Here runs what must outlive it: the service whose URLs are
branches, and its log. checker.py judges the logs of both at the end.
"""
import argparse
import asyncio
import collections
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
import urllib.parse

from branch_requests import Requests
from checker import Checker

IN_FLIGHT = 200  # a kill counts if at least so many transactions were unfinished

KINDS = ('saga', 'rows', 'message', 'outbox', 'tcc', 'xa', 'workflow')

# The coordinator says so where a branch was told to fail, after a start, and where the machine is busy.
EXPECTED = ('keeps failing and is retried', ', first error: ', ' is being rolled back', ' has failed', 'without a line each',
            'what an earlier run left', 'ms inside a commit, and everything else waited')


def now():
    return time.monotonic_ns() // 1000  # the clock of the worker's steady_clock


class Service(Requests):
    """The branches that are URLs: POST /<step>/<op>, and the payload says how to behave (see plan.hpp)."""
    life = 0
    coordinator = None  # the port where that life serves its API
    log = []
    calls = 0
    tasks = set()
    counts = collections.Counter()
    at_next_call = None  # what to do then

    def connection_made(self, transport):
        super().connection_made(transport)
        self.of_life = Service.life

    def serve(self, target, headers, order):
        path, _, query = target.partition('?')
        query = dict(urllib.parse.parse_qsl(query))
        step, op = path.strip('/').split('/')
        gid, branch = query['gid'], query['branch_id']
        gids = {order['gid'], headers.get('x-saga')}  # both have to be the one in the query
        if query['trans_type'] == 'workflow':
            gids.discard(None)  # it calls by itself, without headers
        foreign = op not in (query['op'], query['trans_type']) or step != str(order['step']) or len(gids) != 1
        Service.calls += 1
        if Service.at_next_call:
            Service.at_next_call()
        call = f'{self.of_life} {gid} {branch} {query["op"]} {Service.calls}'
        Service.log.append(f'B {now()} {call} {"mixed-up" if foreign else order["gid"]} {step} url')
        op = query['op']
        Service.counts[gid, branch, op] += 1
        if query['trans_type'] == 'xa' and op == 'action':
            task = asyncio.get_running_loop().create_task(self.register(call, path, query, order))
            Service.tasks.add(task)  # else nobody holds it
            task.add_done_callback(Service.tasks.discard)
        else:
            self.act(call, op, Service.counts[gid, branch, op], order)

    async def register(self, call, path, query, order):
        """As a database with XA: only what is registered is prepared."""
        url = f'http://127.0.0.1:{self.transport.get_extra_info("sockname")[1]}{path}'
        branch = {key: query[key] for key in ('gid', 'trans_type', 'branch_id')}
        body = json.dumps({**branch, 'url': url, 'data': json.dumps(order)})
        answer = b''
        try:
            reader, writer = await asyncio.open_connection('127.0.0.1', Service.coordinator)
            writer.write(b'POST /api/dtmsvr/registerXaBranch HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n'
                         b'Content-Length: %d\r\n\r\n%s' % (len(body), body.encode()))
            answer = await reader.readline()
            writer.close()
        except OSError:  # it was killed
            pass
        if b' 200 ' in answer:
            self.act(call, query['op'], 1, order)
        else:
            self.answer(call, 500, 'error')

    def act(self, call, op, count, order):
        mood = order['action' if op in ('action', 'try') else 'compensate']
        if mood == 'slow':
            asyncio.get_running_loop().call_later(order['ms'] / 1000, self.answer, call, 200, 'success')
        elif mood == 'fail':
            self.answer(call, 409, 'failure')
        elif mood == 'waits' or (mood == 'ongoing' and count <= 2):
            self.answer(call, 425, 'ongoing')
        elif mood == 'broken' or (mood == 'error' and count == 1):
            self.answer(call, 500, 'error')
        elif mood == 'lost' and count == 1:
            Service.log.append(f'E {now()} {call} lost')
            self.transport.close()
        else:
            self.answer(call, 200, 'success')

    def answer(self, call, status, word):
        Service.log.append(f'E {now()} {call} {word}')
        text = {'failure': 'FAILURE', 'ongoing': 'ONGOING'}.get(word, word)
        self.transport.write(f'HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n\r\n{text}'.encode())


class Worker:
    """One life of the process."""

    def __init__(self, test, mode):
        self.test, self.mode = test, mode

    async def __aenter__(self):
        Service.life += 1
        test = self.test
        self.started = now()
        self.process = await asyncio.create_subprocess_exec(
            test.worker, self.mode, test.file('bank.db'), test.file('client.log'), str(test.port), str(test.seed),
            str(Service.life), stdout=asyncio.subprocess.PIPE, stderr=test.errors)
        return self

    async def hear(self, word):
        line = (await asyncio.wait_for(self.process.stdout.readline(), self.test.patience)).decode().split()
        if not line or line[0] != word:
            raise RuntimeError(f'life {Service.life} should say "{word}" and says "{" ".join(line)}"')
        return line

    async def ready(self):
        line = await self.hear('ready')
        Service.coordinator = int(line[2])
        return line

    def kill(self):
        Service.at_next_call = None
        self.process.kill()
        Service.log.append(f'K {now()} {Service.life}')

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Test:
    def __init__(self, options):
        self.worker, self.kills = os.path.abspath(options.worker), options.kills
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
        self.patience = options.patience
        self.folder = tempfile.mkdtemp(prefix='dtm-kill-test-', dir=os.getcwd())
        self.errors = open(self.file('worker.err'), 'w')
        self.random = random.Random(self.seed)
        self.in_flight = []
        self.replayed = []

    def file(self, name):
        return os.path.join(self.folder, name)

    async def run(self):
        server = await asyncio.get_running_loop().create_server(Service, '127.0.0.1', 0, backlog=2048)
        self.port = server.sockets[0].getsockname()[1]
        counted, killed = 0, False
        for _ in range(2 * self.kills + 1):
            async with Worker(self, '--run') as worker:
                ready = await worker.ready()
                if killed:
                    self.in_flight.append(int(ready[1]))
                    counted += int(ready[1]) >= IN_FLIGHT
                await worker.hear('loaded')
                await asyncio.sleep(self.random.uniform(0.005, 0.5))
                # At that moment, or when the next call has just left: what it follows from has to be durable then.
                if self.random.random() < 0.5:
                    worker.kill()
                else:
                    Service.at_next_call = worker.kill
                await asyncio.wait_for(worker.process.wait(), self.patience)
                killed = True
            await asyncio.sleep(0.01)  # what it sent before is received now
            if counted + 1 >= self.kills:
                break
        async with Worker(self, '--drain') as worker:
            self.in_flight.append(int((await worker.ready())[1]))
            await worker.hear('drained')
            self.drain_time = (now() - worker.started) / 1e6
            status = await asyncio.wait_for(worker.process.wait(), self.patience)
            if status != 0:
                raise RuntimeError(f'the last life ended with {status}')
        text = await self.told('--dump')
        self.replayed = (await self.told('--replay')).splitlines()
        end = now()
        Service.log += [f'{line[0]} {end} end {line[2:]}' for line in text.splitlines()] + [f'T {end} end']
        with sqlite3.connect(self.file('bank.db.local')) as database:
            Service.log += [f'L {end} end {gid}' for gid, in database.execute('SELECT gid FROM local')]
        server.close()

    async def told(self, what):
        """What the worker says of the file at the end."""
        worker = await asyncio.create_subprocess_exec(self.worker, what, self.file('bank.db'), stdout=asyncio.subprocess.PIPE, stderr=self.errors)
        text = (await asyncio.wait_for(worker.communicate(), self.patience))[0].decode()
        if worker.returncode != 0:
            raise RuntimeError(f'{what} of the store failed at the end')
        return text

    def judge(self):
        with open(self.file('service.log'), 'w') as file:
            file.write('\n'.join(Service.log) + '\n')
        checker = Checker()
        with open(self.file('client.log')) as file:
            checker.read(file.read().splitlines() + Service.log)
        violations = checker.check()
        with sqlite3.connect(self.file('bank.db')) as database:
            verdict = database.execute('PRAGMA integrity_check').fetchone()[0]
        if verdict != 'ok':
            violations.append(('damaged', '-', verdict))
        self.errors.close()
        with open(self.file('worker.err')) as file:
            said = [line.strip() for line in file if not any(text in line for text in EXPECTED)]
        violations += [('said', '-', line) for line in said]
        violations += [('replay', line.split()[1], line) for line in self.replayed if not line.startswith('same ')]
        if len(self.replayed) < 200:
            violations.append(('weak', '-', f'only {len(self.replayed)} replays'))
        few = sum(count < IN_FLIGHT for count in self.in_flight)
        if len(self.in_flight) - few < self.kills:
            violations.append(('weak', '-', f'only {len(self.in_flight) - few} kills under load'))
        counts = checker.counts
        for kind in ('succeed', 'failed', 'repeats_after_success', 'xa_succeed', 'xa_failed', *KINDS):  # else the test tests nothing
            if counts[kind] == 0:
                violations.append(('weak', '-', f'0 x {kind}'))
        print(f'seed {self.seed}: {counts["kills"]} kills, in flight at a kill: min {min(self.in_flight)}, '
              f'avg {sum(self.in_flight) // len(self.in_flight)}' + (f' ({few} below {IN_FLIGHT})' if few else ''))
        print(', '.join(f'{counts[kind]} {kind}' for kind in KINDS))
        print(f'{counts["accepted"]} accepted, {counts["succeed"]} succeeded, {counts["failed"]} failed; '
              f'{counts["calls"]} calls, {counts["repeats"]} repeated, of these {counts["repeats_after_success"]} '
              f'after a success that was not durable')
        print(f'the last life needed {self.drain_time:.1f} s from its start until all had ended')
        print('violations:', dict(collections.Counter(kind for kind, _, _ in violations)) or 0)
        for kind, gid, text in violations[:30]:
            print(f'  {kind}: {gid}: {text}')
        return not violations


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('worker', help='the program built from worker.cpp')
    parser.add_argument('--kills', type=int, default=50)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--patience', type=float, default=60, help='seconds to wait for anything')
    parser.add_argument('--keep', action='store_true', help='keep the files')
    options = parser.parse_args()
    test = Test(options)
    begin = time.monotonic()
    good = False
    try:
        asyncio.run(test.run())
        good = test.judge()
    except Exception as error:  # pylint: disable=broad-except
        print(f'seed {test.seed}: life {Service.life}: {type(error).__name__}: {error}')
        with open(test.file('worker.err')) as file:
            print(''.join(line for line in file if not any(text in line for text in EXPECTED))[-4000:])
    print(f'{time.monotonic() - begin:.1f} s')
    if good and not options.keep:
        shutil.rmtree(test.folder)
    else:
        print(f'the logs are in {test.folder}')
    sys.exit(0 if good else 1)


if __name__ == '__main__':
    main()
