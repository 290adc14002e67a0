#!/usr/bin/env python3
"""The branches of cluster_test.py that are URLs, in a process that lives as long as the test. Their effects are in a SQLite file of
its own, behind a barrier (docs/protocol.md, 11.5), so what a branch does needs neither the database nor a coordinator.

    cluster_branches.py DATABASE LOG

says the port and serves. POST /: the payload says how to behave, see Piece in cluster_plan.hpp; GET: was the local step of that
message committed? Each request is a line `V MICROSECONDS LIFE GID STEP OP NAME` of the log when it arrives, with the name that its
caller has given it.
"""
import asyncio
import os
import sqlite3
import sys
import time
import urllib.parse

from branch_requests import Requests

ORIGIN = {'cancel': 'try', 'compensate': 'action', 'rollback': 'action'}  # what it undoes


class Effects:
    """A barrier, and behind it the business."""

    def __init__(self, path):
        self.database = sqlite3.connect(path, isolation_level=None)
        for statement in ('PRAGMA journal_mode = WAL', 'PRAGMA synchronous = OFF',
                          'CREATE TABLE effect (gid TEXT, step INT, op TEXT)',
                          'CREATE TABLE barrier (gid TEXT, branch TEXT, op TEXT, reason TEXT, PRIMARY KEY (gid, branch, op))'):
            self.database.execute(statement)

    def insert(self, gid, branch, op, reason):
        return self.database.execute('INSERT OR IGNORE INTO barrier VALUES (?, ?, ?, ?)', (gid, branch, op, reason)).rowcount > 0

    def take(self, gid, branch, op, piece):
        """The status of the reply."""
        self.database.execute('BEGIN IMMEDIATE')
        null = op in ORIGIN and self.insert(gid, branch, ORIGIN[op], op)
        new = self.insert(gid, branch, op, op)
        if new and not null and piece['fails'] and op in ('action', 'try'):
            self.database.execute('ROLLBACK')
            return 409
        if new and not null:
            self.database.execute('INSERT INTO effect VALUES (?, ?, ?)', (gid, piece['step'], op))
        self.database.execute('COMMIT')
        return 500 if op == 'msg' and not new else 200  # only the initiator of a message is told that it came before

    def asked(self, gid):
        self.insert(gid, '00', 'msg', 'rollback')
        reason, = self.database.execute("SELECT reason FROM barrier WHERE gid = ? AND branch = '00' AND op = 'msg'", (gid,)).fetchone()
        return 409 if reason == 'rollback' else 200


class Service(Requests):
    effects, log = None, None
    lost = set()  # whose answer has been lost

    def serve(self, target, headers, piece):
        query = dict(urllib.parse.parse_qsl(target.partition('?')[2]))
        gid, branch, op = query['gid'], query['branch_id'], query['op']
        life, name = headers['x-caller'].split(' ')
        step = 0 if piece is None else piece['step']
        os.write(self.log, f'V {time.monotonic_ns() // 1000} {life} {gid} {step} {op} {name}\n'.encode())
        if piece is None:
            self.answer(self.effects.asked(gid))
        elif piece['gid'] != gid:
            self.answer(400)
        elif op in ('action', 'try'):
            asyncio.get_running_loop().call_later(piece['ms'] / 1000, self.act, gid, branch, op, piece)
        else:
            self.act(gid, branch, op, piece)

    def act(self, gid, branch, op, piece):
        status = self.effects.take(gid, branch, op, piece)
        if piece['lost'] and op in ('action', 'try') and (gid, branch) not in self.lost:
            self.lost.add((gid, branch))
            self.transport.close()
        else:
            self.answer(status)

    def answer(self, status):
        text = {200: 'SUCCESS', 409: 'FAILURE'}.get(status, 'not now')
        self.transport.write(f'HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n\r\n{text}'.encode())


async def serve(database, log):
    Service.effects = Effects(database)
    Service.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = await asyncio.get_running_loop().create_server(Service, '127.0.0.1', 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == '__main__':
    asyncio.run(serve(*sys.argv[1:]))
