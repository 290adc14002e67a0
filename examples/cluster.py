#!/usr/bin/env python3
"""Three dtm-server on one PostgreSQL, under load; every two seconds one of them is killed (kill -9) and started again. At the
end it is checked from outside that nothing was lost and that every saga had its whole effect, or none.

  cluster.py DTM_SERVER [--seconds N] [--rate N] [--seed N]      DTM_POSTGRES says where the database is; see cluster.sh

Each saga takes money from an account of bank A and brings it to bank B; both are URLs, served here. B refuses some, and some
replies get lost. The banks know which calls they had already, as a barrier does (docs/barriers.md).
Needs: psql. Nothing else.
"""
import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import sys
import time
import urllib.parse

NAMES = ('anna', 'bert', 'cleo')
KILL_EVERY, DOWN_FOR = 2, 0.7  # s


class Gone(Exception):
    """The other side has closed the connection."""


async def read_message(reader):
    """Of HTTP: the first line and the body."""
    try:
        head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1').split('\r\n')
        fields = dict(line.lower().split(': ', 1) for line in head[1:] if ': ' in line)
        return head[0], await reader.readexactly(int(fields.get('content-length', 0)))
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Gone from error


class Banks:
    """Two banks at POST /a/... and /b/...: what each call of a saga has changed there."""

    def __init__(self, choose):
        self.choose, self.port = choose, 0
        self.known, self.changed = set(), collections.Counter()  # (bank, gid, op); (bank, gid) -> amount
        self.calls = self.repeats = self.lost = 0

    async def listen(self):
        server = await asyncio.start_server(self.serve, '127.0.0.1', 0, backlog=1000)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        with contextlib.closing(writer), contextlib.suppress(Gone, OSError):
            while True:
                line, body = await read_message(reader)
                path, _, query = line.split(' ')[1].partition('?')
                saga = dict(urllib.parse.parse_qsl(query))
                await asyncio.sleep(self.choose.uniform(0.02, 0.4))
                status = self.call(path[1], saga['gid'], saga['op'], json.loads(body))
                if self.choose.random() < 0.03:  # done, but nobody hears of it
                    self.lost += 1
                    return
                writer.write(f'HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n'.encode())
                await writer.drain()

    def call(self, bank, gid, op, order):
        self.calls += 1
        if bank == 'b' and op == 'action' and order['refused']:
            return 409
        if (bank, gid, op) in self.known:
            self.repeats += 1
            return 200
        self.known.add((bank, gid, op))
        amount = order['amount'] if bank == 'b' else -order['amount']
        if op == 'action':
            self.changed[bank, gid] += amount
        elif (bank, gid, 'action') in self.known:
            self.changed[bank, gid] -= amount
        else:  # nothing to undo; and should the action still come, it is too late
            self.known.add((bank, gid, 'action'))
        return 200


class Node:
    """A dtm-server with a name, and its lives."""

    def __init__(self, program, name):
        self.program, self.name, self.process, self.port, self.idle = program, name, None, 0, []

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            self.program, '--store', os.environ['DTM_POSTGRES'], '--listen', '127.0.0.1:0',
            env={**os.environ, 'NODE_NAME': self.name, 'LOG_LEVEL': 'error'}, stdout=asyncio.subprocess.PIPE)
        line = (await self.process.stdout.readline()).decode()
        if 'ready' not in line:
            raise SystemExit(f'{self.name} did not start; see above')
        self.port = int(line.split('/api')[0].rsplit(':', 1)[1])

    async def end(self, number):
        self.process.send_signal(number)
        await self.process.wait()
        self.idle.clear()

    async def ask(self, method, path, body=None):
        """Status and JSON, or Gone."""
        try:
            reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection('127.0.0.1', self.port)
        except OSError as error:
            raise Gone from error
        data = b'' if body is None else json.dumps(body).encode()
        with contextlib.ExitStack() as stack:
            stack.callback(writer.close)
            writer.write(f'{method} /api/dtmsvr/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n'.encode() + data)
            line, reply = await asyncio.wait_for(read_message(reader), 10)
            self.idle.append((reader, writer))
            stack.pop_all()
        return int(line.split(' ')[1]), json.loads(reply)


class Database:
    """Who drives how many, by one psql that stays."""

    async def connect(self):
        self.one_by_one = asyncio.Lock()
        self.psql = await asyncio.create_subprocess_exec('psql', '-qAtX', os.environ['DTM_POSTGRES'], stdin=asyncio.subprocess.PIPE,
                                                         stdout=asyncio.subprocess.PIPE)

    async def rows(self, sql):
        async with self.one_by_one:
            self.psql.stdin.write(f'{sql};\n\\echo .\n'.encode())
            found = []
            while (line := (await self.psql.stdout.readline()).decode().strip()) != '.':
                found.append(line.split('|'))
            return found

    async def driven(self):
        """How many unfinished ones each drives: (name, number) -> count. In each life a server has another number, and what a
        dead one drove is under its number until another has it."""
        rows = await self.rows("SELECT coalesce(n.name, '?'), t.owner, count(*) FROM dtm_trans t LEFT JOIN dtm_node n "
                               'ON n.id = t.owner WHERE t.due IS NOT NULL GROUP BY 1, 2')
        return {(name, number): int(count) for name, number, count in rows}


class Cluster:
    def __init__(self, options):
        self.options, self.choose = options, random.Random(options.seed)
        self.banks, self.database = Banks(self.choose), Database()
        self.nodes = [Node(options.program, name) for name in NAMES]
        self.orders, self.accepted, self.again = {}, set(), 0
        self.kills, self.takeovers, self.problems, self.ending = 0, [], [], False
        self.begin, self.live = time.monotonic(), sys.stdout.isatty()

    def say(self, text, stays=True):
        clear = '\r\x1b[K' if self.live else ''
        print(f'{clear}{time.monotonic() - self.begin:5.1f} s  {text}', end='\n' if stays else '', flush=True)

    async def submit(self, gid):
        """As a good client does: without a reply, the same again, at another one."""
        amount = self.choose.randint(1, 100)
        order = self.orders[gid] = {'amount': amount, 'refused': amount % 10 == 0}
        url, payload = f'http://127.0.0.1:{self.banks.port}', json.dumps(order)
        saga = {'gid': gid, 'trans_type': 'saga', 'retry_interval': 1, 'payloads': [payload, payload],
                'steps': [{'action': f'{url}/a/out', 'compensate': f'{url}/a/back'},
                          {'action': f'{url}/b/in', 'compensate': f'{url}/b/back'}]}
        while True:
            with contextlib.suppress(Gone, asyncio.TimeoutError):
                status, reply = await self.choose.choice(self.nodes).ask('POST', 'submit', saga)
                if status == 200:
                    self.accepted.add(gid)
                    return
                if status == 400 or status == 409:
                    raise SystemExit(f'{gid} was refused: {status} {reply}')
            self.again += 1
            await asyncio.sleep(0.1)

    async def load(self):
        tasks, number, start = [], 0, time.monotonic()
        while (passed := time.monotonic() - start) < self.options.seconds:
            while number < passed * self.options.rate:
                number += 1
                tasks.append(asyncio.create_task(self.submit(f'order-{number}')))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    async def kill(self):
        watches, start = [], time.monotonic()
        while not self.ending:
            await asyncio.sleep(max(start + KILL_EVERY * (self.kills + 1) - time.monotonic(), 0.5))
            node = self.choose.choice(self.nodes)
            await node.end(signal.SIGKILL)
            self.kills += 1
            left = {who: count for who, count in (await self.database.driven()).items() if who[0] == node.name}
            self.say(f'kill -9 {node.name}, which drove {sum(left.values())}')
            if left:
                watches.append(asyncio.create_task(self.watch(node.name, left.keys())))
            await asyncio.sleep(DOWN_FOR)
            await node.start()
        await asyncio.gather(*watches)

    async def watch(self, name, left):
        begin = time.monotonic()
        while left & (await self.database.driven()).keys():
            await asyncio.sleep(0.05)
            if time.monotonic() - begin > 20:
                self.problems.append(f'nobody took over what {name} drove')
                return
        self.takeovers.append(time.monotonic() - begin)
        self.say(f'the others drive what {name} drove, after {self.takeovers[-1]:.1f} s')

    @staticmethod
    def bar(node, count):
        if node.process.returncode is not None:
            return f'dead  {count:>3}'
        return f'{"#" * min((count + 19) // 20, 5):<5} {count:>3}'

    async def show(self):
        """The live line."""
        while True:
            counts = collections.Counter()
            for (name, _), count in (await self.database.driven()).items():
                counts[name] += count
            bars = '  '.join(f'{node.name} {self.bar(node, counts[node.name])}' for node in self.nodes)
            left = sum(counts.values())
            self.say(f'{bars}  {max(len(self.accepted) - left, 0):>5} of {len(self.accepted)} ended', stays=not self.live)
            await asyncio.sleep(0.2 if self.live else 1)

    async def statuses(self):
        """Of all transactions, as a server tells them."""
        found, position = {}, ''
        while True:
            _, page = await self.nodes[0].ask('GET', f'all?limit=1000&position={position}')
            found.update((each['gid'], each['status']) for each in page['transactions'])
            position = page['next_position']
            if not position:
                return found

    async def settled(self):
        end = time.monotonic() + 40
        while sum((await self.database.driven()).values()) > 0 and time.monotonic() < end:
            await asyncio.sleep(0.1)
        return await self.statuses()

    def judge(self, found):
        """What is wrong."""
        problems = []
        for gid, order in self.orders.items():
            effect = self.banks.changed['a', gid], self.banks.changed['b', gid]
            status = found.get(gid, 'lost')
            whole = (-order['amount'], order['amount']) if status == 'succeed' else (0, 0)
            if status not in ('succeed', 'failed'):
                problems.append(f'{gid} was accepted and is {status}')
            elif effect != whole or (status == 'succeed') == order['refused']:
                problems.append(f'{gid} is {status}, with {effect[0]} at A and {effect[1]} at B')
        return problems

    async def run(self):
        await self.banks.listen()
        await self.database.connect()
        for node in self.nodes:
            await node.start()
        self.begin = time.monotonic()
        self.say(f'{len(NAMES)} dtm-server on one PostgreSQL, {self.options.rate} sagas a second, seed {self.options.seed}')
        others = [asyncio.create_task(work()) for work in (self.show, self.kill)]
        load = asyncio.create_task(self.load())
        done, _ = await asyncio.wait([load, *others], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*done)  # an error is told here
        self.ending = True
        await others[1]  # all servers run again
        self.say('no more load, no more kills')
        found = await self.settled()
        others[0].cancel()
        problems = self.problems + self.judge(found)
        count = collections.Counter(found.values())
        self.say(f'{len(self.accepted)} sagas accepted: {count["succeed"]} succeeded, {count["failed"]} failed and undone; '
                 f'{self.kills} servers killed')
        self.say(f'{self.banks.calls} calls, {self.banks.repeats} of them again ({self.banks.lost} replies were lost), '
                 f'{self.again} submissions again; taken over after at most {max(self.takeovers, default=0):.1f} s')
        moved = [sum(amount for (bank, _), amount in self.banks.changed.items() if bank == which) for which in 'ab']
        self.say(f'bank A has {moved[0]}, bank B {moved[1]:+d}')
        for problem in problems[:20]:
            self.say('WRONG: ' + problem)
        if self.kills == 0 or count['succeed'] == 0 or count['failed'] == 0:
            problems.append('it ran too short to show anything')
        self.say(f'{len(problems)} problems' if problems else 'nothing was lost, nothing is half done')
        for node in self.nodes:
            await node.end(signal.SIGTERM)
        self.database.psql.stdin.close()
        await self.database.psql.wait()
        return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('program', help='dtm-server')
    parser.add_argument('--seconds', type=float, default=25)
    parser.add_argument('--rate', type=int, default=100, help='sagas a second')
    parser.add_argument('--seed', type=int, default=random.randrange(1000000))
    cluster = Cluster(parser.parse_args())
    try:
        good = asyncio.run(cluster.run())
    finally:
        for node in cluster.nodes:
            if node.process is not None and node.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    node.process.kill()
    sys.exit(0 if good else 1)


if __name__ == '__main__':
    main()
