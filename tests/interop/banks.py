#!/usr/bin/env python3
"""Branches in C++, Go and Python on the same databases and the same barrier tables: bank.cpp, go/bank, python/bank.py.

  banks.py --build DIR [--prepare] [--seed N] [--rounds N] [--database NAME] BANK DTM_SERVER
    BANK, DTM_SERVER   the programs interop_bank and dtm-server
    --prepare          only installs and builds what the run needs
    --rounds           how often each part is repeated (default 1)
    --database         postgres (default) or mysql: what two servers of ours share

It starts PostgreSQL, MariaDB, Redis, ours and the real server, and two of ours on one database, each request to one of them by
chance. Then
- barrier calls of one transaction come to a random client each, one after the other; replies, rows and balances are those of
  Model;
- the same at once: they are those of the model in some order;
- whole transactions with branches in all languages, and the initiator in one, run on our server, on two and on the real one: all
  accounts are changed, or none, and nothing stays prepared. Also xa with the two phases of a branch in different languages.
(Barrier calls alone come to no coordinator, so it does not matter to them how many there are.)
Where dtm's clients differ, that has a name in DIFFERENCES, and nothing else may differ.
"""
import argparse
import concurrent.futures
import http.client
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

from run import DATABASES, HERE, TOOLS, Pair, Problem, Server, go_server, install_python, prepare_go

DIFFERENCES = {  # docs/differences.md has each
    'W30': 'Redis: the Go client looks at the balance before it looks for a repeat, and its rollback undoes nothing',
    'deadlock': 'MariaDB: the Go client goes on after a deadlock, and its own row stays without its business',
    'XAER_NOTA': 'MariaDB: the Go client takes a prepared transaction that cannot be ended yet for one that has ended',
}
CLIENTS = {'postgres': ['cpp', 'go'], 'mysql': ['cpp', 'go', 'python'], 'redis': ['cpp', 'go']}
KINDS = {'saga': ['action', 'compensate'], 'tcc': ['try', 'confirm', 'cancel'], 'workflow': ['action', 'commit', 'rollback'],
         'msg': ['msg', 'asked']}
TEMPORARY = re.compile(r'[Dd]eadlock|1213|40P01|40001|Record has changed')


class Wrong(Exception):
    """Something is not as it should be."""


def check(good, why):
    if not good:
        raise Wrong(why)


# --- the model: §11.5 and §11.6 ---

ORIGIN = {'cancel': 'try', 'compensate': 'action', 'rollback': 'action'}


class Model:
    """One transaction in one database: its rows, and the account."""

    def __init__(self, db, balance, rows=()):
        self.db, self.balance, self.rows = db, balance, dict(rows)

    def copy(self):
        return Model(self.db, self.balance, self.rows)

    def state(self):
        return self.balance, frozenset((*key, reason) for key, reason in self.rows.items())

    def insert(self, key, reason):
        """True if it is new."""
        new = key not in self.rows
        self.rows.setdefault(key, reason)
        return new

    def deliver(self, op, hows, change, client='cpp'):
        """The reply to a delivery with a barrier call for each of `hows`."""
        if op == 'asked':
            self.insert(('msg', '01'), 'rollback')
            return 'no' if self.rows['msg', '01'] == 'rollback' else 'done'
        for number, how in enumerate(hows, 1):
            reply = self.call(op, f'{number:02d}', how, change, client)
            if reply != 'done':
                return reply
        return 'done'

    def call(self, op, number, how, change, client):
        origin = ORIGIN.get(op)
        if self.db == 'redis' and client == 'go':  # W30
            if self.balance + change < 0:
                return 'no'
            origin = None if op == 'rollback' else origin
        before = dict(self.rows)
        own = self.insert((op, number), 'op' if self.db == 'redis' else op)
        if self.db == 'redis':
            undone = own and origin and self.insert((origin, number), 'rollback')
        else:
            undone = origin and self.insert((origin, number), op)
        if undone or not own:
            return 'done' if own or op != 'msg' else 'duplicated'
        reply = 'no' if self.balance + change < 0 else {'no': 'no', 'late': 'no', 'error': 'error'}.get(how, 'done')
        if reply == 'done':
            self.balance += change
        else:
            self.rows = before
        return reply


# --- what is run ---


class Bank:
    """A program that serves branches, and how it is called."""

    def __init__(self, name, command, env):
        self.name = name
        self.process = subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline().split()
        if len(line) != 2 or line[0] != 'ready':
            raise Problem(f'the bank {name} did not start')
        self.url = line[1]

    def ask(self, path, **query):
        """Status and body."""
        connection = http.client.HTTPConnection(self.url[len('http://'):], timeout=30)
        try:
            connection.request('GET', path + '?' + urllib.parse.urlencode(query, doseq=True), headers={'Connection': 'close'})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def stop(self):
        self.process.stdin.close()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Run:
    """One run: the banks, a random generator, and what differed how often."""

    def __init__(self, banks, seed):
        self.banks, self.random, self.differed = banks, random.Random(seed), dict.fromkeys(DIFFERENCES, 0)
        self.gids = (f'gid-{seed}-{i}' for i in itertools.count())
        self.pool = concurrent.futures.ThreadPoolExecutor(4)

    def open(self, db, account, balance):
        status, text = self.banks['cpp'].ask(f'/open/{db}', account=account, balance=balance)
        check(status == 200, text)

    def look(self, db, account, gid):
        """As Model.state says it."""
        status, text = self.banks['cpp'].ask(f'/look/{db}', account=account, gid=gid)
        check(status == 200, text)
        lines = [line.split() for line in text.splitlines()]
        return int(lines[0][1]), frozenset(tuple(line[1:]) for line in lines[1:])

    def prepared(self, db):
        status, text = self.banks['cpp'].ask(f'/prepared/{db}')
        check(status == 200, text)
        return text.split()

    def deliver(self, client, db, kind, gid, op, hows, change):
        """What a coordinator would be told: done, no, duplicated, error (of the business), temporary."""
        path, op = ('asked', 'msg') if op == 'asked' else ('barrier', op)
        status, text = self.banks[client].ask(f'/{path}/{db}', trans_type=kind, gid=gid, branch_id='00' if kind == 'msg' else '01', op=op,
                                              account=gid, change=change, how=','.join(hows))
        if status == 500:
            for word, reply in (('out of order', 'error'), ('uplicate', 'duplicated'), ('DUPLICATED', 'duplicated')):
                if word in text:
                    return reply
            check(TEMPORARY.search(text), f'{client} {db} {op}: {text}')
            return 'temporary'
        check(status in (200, 409), f'{client} {db} {op}: {status} {text}')
        return {200: 'done', 409: 'no'}[status]

    # --- one after the other ---

    def choose(self, db, kind, most):
        """A delivery: client, op, hows, change."""
        rng = self.random
        op = rng.choice(KINDS[kind])
        clients = [client for client in CLIENTS[db] if client != 'python' or op != 'rollback']  # which has none
        hows = ['ok'] * rng.randint(1, most) if db == 'redis' else rng.choices(['ok', 'no', 'error'], [5, 2, 1], k=rng.randint(1, most))
        return rng.choice(clients), op, hows, rng.choice([30, -30])

    def one_by_one(self, db, count):
        """`count` deliveries of some transactions that take turns."""
        live = []
        for step in range(count):
            if len(live) < 4:
                gid, balance = next(self.gids), self.random.choice([0, 100])
                self.open(db, gid, balance)
                live.append((gid, self.random.choice(list(KINDS)), Model(db, balance)))
            gid, kind, model = self.random.choice(live)
            client, op, hows, change = self.choose(db, kind, 3)
            reply = self.deliver(client, db, kind, gid, op, hows, change)
            ours = model.copy()
            expected, wanted = model.deliver(op, hows, change, client), ours.deliver(op, hows, change)
            found = self.look(db, gid, gid)
            check((reply, found) == (expected, model.state()),
                  f'{db}, step {step}: {client} {kind} {gid} {op} {hows} {change}: {reply} {found}, and should be {expected} {model.state()}')
            self.differed['W30'] += (reply, found) != (wanted, ours.state())
            if self.random.random() < 0.1:
                live.remove((gid, kind, model))

    # --- at once ---

    def repeat(self, gid, delivery, db, kind):
        """Until it is not temporary. Returns the reply, and how often it was."""
        client, op, hows, change = delivery
        for tries in range(50):
            reply = self.deliver(client, db, kind, gid, op, hows, change)
            if reply != 'temporary':
                return reply, tries
        raise Wrong(f'{db}: {client} {op} is temporary again and again')

    def at_once(self, db, count):
        """`count` transactions, each with three or four deliveries at once."""
        for _ in range(count):
            gid, kind, balance = next(self.gids), self.random.choice(list(KINDS)), self.random.choice([0, 100])
            self.open(db, gid, balance)
            deliveries = [self.choose(db, kind, 1) for _ in range(self.random.randint(3, 4))]
            if db != 'redis':
                deliveries = [(client, op, [{'ok': 'slow', 'no': 'late'}.get(hows[0], hows[0])] if self.random.random() < 0.7 else hows, change)
                              for client, op, hows, change in deliveries]
            done = list(self.pool.map(lambda delivery: self.repeat(gid, delivery, db, kind), deliveries))  # pylint: disable=cell-var-from-loop
            replies, found = [reply for reply, _ in done], self.look(db, gid, gid)
            events = list(zip(deliveries, replies))
            name = None
            if not self.explained(db, balance, events, found):
                # What the Go client may have left behind: the row of an op that undoes another one.
                left = [((client, op), None) for (client, op, *_), (_, tries) in zip(deliveries, done)
                        if tries and db == 'mysql' and client == 'go' and op in ORIGIN]
                name = 'deadlock' if left and self.explained(db, balance, events + left, found) else None
                check(name, f'{db} {kind} {gid}, balance {balance}: {deliveries} were answered {done} and left {found}')
            if name:
                self.differed[name] += 1

    @staticmethod
    def explained(db, balance, events, found):
        """Does the model say the same in some order?"""
        for order in itertools.permutations(events):
            model = Model(db, balance)
            for delivery, reply in order:
                if reply is None:
                    model.insert((delivery[1], '01'), delivery[1])
                elif model.deliver(*delivery[1:], delivery[0]) != reply:
                    break
            else:
                if model.state() == found:
                    return True
        return False

    # --- whole transactions ---

    def url(self, client, path, db, account, change, how='ok'):
        query = urllib.parse.urlencode({'account': account, 'change': change, 'how': how})
        return f'{self.banks[client].url}/{path}/{db}?{query}'

    def transaction(self, server, kind, rng):
        """One, with two or three branches, from begin to end. Every account has 100 at first, and gets `change` or not."""
        gid, xa = f'{next(self.gids)}', kind == 'xa'
        places = []
        for i in range(rng.choice([2, 3])):
            db = rng.choice(['postgres', 'mysql'] if xa else ['postgres', 'mysql', 'redis'])
            places.append((rng.choice([client for client in CLIENTS[db] if client != 'python' or not xa]), db, f'{gid}-{i}',
                           rng.choice([-30, 30, -30, 30, -200 if kind != 'msg' else -30])))
        for _, db, account, _ in places:
            self.open(db, account, 100)
        succeeds = all(change != -200 for *_, change in places)
        branches, local = [], {}
        if kind == 'msg':
            client, db, account, change = places[0]
            initiator = client if client != 'python' else 'cpp'
            how = rng.choice(['ok', 'no', 'error']) if db != 'redis' else 'ok'
            succeeds = how == 'ok'
            local = {'db': db, 'account': account, 'change': change, 'how': how}
            branches = [f'{self.banks[client].url}/asked/{db}']
            branches += [self.url(*place[:1], 'barrier', *place[1:]) for place in places[1:]]
        else:
            initiator = rng.choice(['cpp', 'go'] if xa else ['cpp', 'go', 'python'])
            for client, db, account, change in places:
                amounts = {'saga': [change, -change], 'tcc': [change - 1, 1, 1 - change], 'xa': [change]}[kind]
                branches += [self.url(client, 'xa' if xa else 'barrier', db, account, amount) for amount in amounts]
        status, text = self.banks[initiator].ask('/start', server=server.url, type=kind, gid=gid, branch=branches, **local)
        self.ends(server, gid, kind, 'succeed' if succeeds else 'failed', f'{initiator} {branches}: {status} {text}')
        if xa:
            self.finish(gid, succeeds, [(f'{i + 1:02d}', *place[:2]) for i, place in enumerate(places)])
        for client, db, account, change in places:
            balance = self.look(db, account, gid)[0]
            check(balance == 100 + change * succeeds, f'{kind} {gid} by {initiator}: {client} {db} has {balance}, {places}')

    def ends(self, server, gid, kind, wanted, what):
        end = time.monotonic() + 60
        status = None
        while status not in ('succeed', 'failed') and time.monotonic() < end:
            connection = http.client.HTTPConnection(f'127.0.0.1:{server.port}', timeout=30)
            connection.request('GET', f'/api/dtmsvr/query?gid={gid}')
            status = (json.loads(connection.getresponse().read()).get('transaction') or {}).get('status')
            connection.close()
            time.sleep(0.02)
        check(status == wanted, f'{kind} {gid} on {server.title} is {status} and should be {wanted}; {what}')

    def finish(self, gid, succeeds, places):
        """No branch of an xa that has ended is prepared any more; `places`: branch_id, the client of the second phase, database."""
        for branch_id, client, db in places:
            if f'{gid}-{branch_id}' not in self.prepared(db):
                continue
            check(client == 'go' and db == 'mysql', f'{gid}-{branch_id} of {client} in {db} is still prepared')
            self.differed['XAER_NOTA'] += 1
            op = 'commit' if succeeds else 'rollback'
            status, text = self.banks['cpp'].ask('/xa/mysql', trans_type='xa', gid=gid, branch_id=branch_id, op=op, account='none', change=0)
            check(status == 200, f'{gid}-{branch_id} {op}: {text}')
            check(f'{gid}-{branch_id}' not in self.prepared(db), f'{gid}-{branch_id} is still prepared')

    def crossed(self, server, first, second, db, succeeds):
        """An xa whose branch does the first phase in one language, and the second in another; then the action comes late."""
        gid = next(self.gids)
        self.open(db, gid, 100)
        about = {'gid': gid, 'trans_type': 'xa'}
        self.tell(server, 'prepare', about)
        phase2 = self.url(second, 'xa', db, gid, 0)
        call = {'trans_type': 'xa', 'gid': gid, 'branch_id': '01', 'op': 'action', 'phase2_url': phase2, 'dtm': server.url,
                'account': gid, 'change': 30, 'how': 'ok'}
        status, text = self.banks[first].ask(f'/xa/{db}', **call)
        check(status == 200, f'{first} {db} action: {text}')
        self.tell(server, 'submit' if succeeds else 'abort', about)
        self.ends(server, gid, 'xa', 'succeed' if succeeds else 'failed', f'{first} {second} {db}')
        self.finish(gid, succeeds, [('01', second, db)])
        balance = self.look(db, gid, gid)[0]
        check(balance == 100 + 30 * succeeds, f'xa {gid}: {first} then {second} in {db}: {balance}')
        if not succeeds:  # whoever forbade it
            status, text = self.banks['cpp'].ask(f'/xa/{db}', **call)
            check(status == 409, f'cpp {db} a late action: {status} {text}')
            check(self.look(db, gid, gid)[0] == 100, f'xa {gid}: a late action in {db} worked')

    @staticmethod
    def tell(server, what, about):
        connection = http.client.HTTPConnection(f'127.0.0.1:{server.port}', timeout=30)
        connection.request('POST', f'/api/dtmsvr/{what}', json.dumps(about), {'Content-Type': 'application/json'})
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        check(reply.status == 200, f'{what}: {text}')

    def transactions(self, server, kind, count):
        seeds = [self.random.random() for _ in range(count)]
        for _ in self.pool.map(lambda seed: self.transaction(server, kind, random.Random(seed)), seeds):
            pass

    def all_crossed(self, server):
        ways = itertools.product(['cpp', 'go'], ['cpp', 'go'], ['postgres', 'mysql'], [True, False])
        for _ in self.pool.map(lambda way: self.crossed(server, *way), list(ways)):
            pass


def run(args, build, env):
    """Returns how many parts passed, and how many failed."""
    commands = {'cpp': [str(Path(args.bank).resolve())], 'go': [str(build / 'go_bank')],
                'python': [sys.executable, str(HERE / 'python/bank.py')]}
    banks, counts = {}, [0, 0]
    try:
        for name, command in commands.items():  # C++ first, which makes the tables
            banks[name] = Bank(name, command, env)
        print(f'seed {args.seed}', flush=True)
        with Server('ours', args.server) as ours, Pair(args.server, args.database, args.seed) as pair, Server('go', go_server()) as real:
            servers = (ours, pair, real)
            it = Run(banks, args.seed)
            parts = [(f'{part.__name__} {db}', part, db, count * args.rounds) for db in CLIENTS
                     for part, count in ((it.one_by_one, 250), (it.at_once, 60))]
            parts += [(f'{kind} on {server.title}', it.transactions, server, kind, 8 * args.rounds)
                      for server in servers for kind in ('saga', 'tcc', 'msg', 'xa')]
            parts += [(f'xa crossed on {server.title}', it.all_crossed, server) for server in servers]
            for name, part, *about in parts:
                begin = time.monotonic()
                try:
                    part(*about)
                    counts[0] += 1
                    print(f'ok {name} ({time.monotonic() - begin:.1f} s)', flush=True)
                except (Wrong, OSError, http.client.HTTPException) as problem:
                    counts[1] += 1
                    print(f'FAILED {name}: {problem}', flush=True)
            for server in (ours, pair):
                wrong = server.stop()
                counts[bool(wrong)] += 1
                print(f'FAILED {server.title}: {wrong}' if wrong else f'ok {server.title} stopped', flush=True)
                if wrong:
                    print(server.tail(), flush=True)
            for db in ('postgres', 'mysql'):
                left = it.prepared(db)
                counts[bool(left)] += 1
                print(f'FAILED prepared in {db}: {left}' if left else f'ok nothing is prepared in {db}', flush=True)
            it.pool.shutdown()
            for name, times in it.differed.items():
                print(f'    {times} times {name}: {DIFFERENCES[name]}')
    finally:
        for bank in banks.values():
            code = bank.stop()
            if code != 0:
                counts[1] += 1
                print(f'FAILED: the bank {bank.name} exits with {code}', flush=True)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=Path, required=True)
    parser.add_argument('--prepare', action='store_true')
    parser.add_argument('--seed', type=int, default=random.randrange(10**6))
    parser.add_argument('--rounds', type=int, default=1)
    parser.add_argument('--database', choices=DATABASES, default='postgres')
    parser.add_argument('bank')
    parser.add_argument('server')
    args = parser.parse_args()
    build = args.build.resolve()
    build.mkdir(parents=True, exist_ok=True)
    os.environ['no_proxy'] = ','.join(filter(None, [os.environ.get('no_proxy'), '127.0.0.1']))
    try:
        if args.prepare:
            prepare_go(build)
            install_python(build / 'python', HERE / 'python/requirements.txt')
            go_server()
            return 0
        if 'DTM_REDIS' not in os.environ:  # again, with the databases
            tools = [str(TOOLS / f'with_{name}.sh') for name in ('postgres', 'mariadb', 'redis')]
            return subprocess.run([*tools, sys.executable, *sys.argv], check=False).returncode
        passed, failed = run(args, build, {**os.environ, 'PYTHONPATH': str(build / 'python'), 'PYTHONDONTWRITEBYTECODE': '1'})
    except (Problem, OSError, subprocess.CalledProcessError) as problem:
        print(f'FAILED: {problem}')
        passed, failed = 0, 1
    print(f'{passed} passed, {failed} failed')
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == '__main__':
    sys.exit(main())
