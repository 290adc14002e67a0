"""A bank whose branches are written with dtm's own Python client, which has a barrier for MariaDB and MySQL only.
../bank.cpp is the same in C++ and says what it serves; here it is /barrier/mysql, /asked/mysql and /start of a saga or tcc.
It prints `ready URL` and serves until its input ends. Needs: dtmcli, PyMySQL; the variables of tools/with_mariadb.sh."""
import contextlib
import http.server
import os
import sys
import threading
import time
import urllib.parse

import pymysql
from dtmcli import barrier, saga, tcc, utils

MINE = threading.local()


def connection():
    if not hasattr(MINE, 'connection'):
        MINE.connection = pymysql.connect(host=os.environ['DTM_MYSQL_HOST'], port=int(os.environ['DTM_MYSQL_PORT']),
                                          user=os.environ['DTM_MYSQL_USER'])
    return MINE.connection


def booking(query, how):
    """What the business of a branch does."""
    def book(cursor):
        change = int(query['change'])
        if cursor.execute('UPDATE dtm_bank.account SET balance = balance + %s WHERE name = %s AND balance + %s >= 0',
                          (change, query['account'], change)) == 0:
            raise utils.DTMFailureError('the balance is too small')
        if how in ('slow', 'late'):
            time.sleep(0.005)
        if how in ('no', 'late'):
            raise utils.DTMFailureError('not today')
        if how == 'error':
            raise RuntimeError('out of order')
    return book


def start(kind, server, gid, branches):
    if kind == 'saga':
        transaction = saga.Saga(server, gid)
        for action, compensate in zip(branches[::2], branches[1::2]):
            transaction.add('pay', action, compensate)
        transaction.trans_base.retry_interval = 1
        transaction.submit()
        return

    def work(transaction):
        for urls in zip(branches[::3], branches[1::3], branches[2::3]):
            transaction.call_branch('pay', *urls)
    tcc.tcc_global_transaction(server, gid, work)


def serve(path, query):
    branch = barrier.BranchBarrier(query['trans_type'], query['gid'], query['branch_id'], query['op'])
    with connection().cursor() as cursor:
        if path == '/asked/mysql':
            branch.query_prepared(cursor)
            connection().commit()
            return
        for how in query['how'].split(','):
            branch.call(cursor, booking(query, how))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        path, _, query = self.path.partition('?')
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        status, text = 200, 'SUCCESS'
        try:
            query = urllib.parse.parse_qs(query)
            first = {name: values[0] for name, values in query.items()}
            if path == '/start':
                start(first['type'], first['server'], first['gid'], query['branch'])
            else:
                serve(path, first)
        except utils.DTMFailureError as error:
            status, text = 409, f'{error} FAILURE'
        except Exception as error:  # pylint: disable=broad-except
            status, text = 500, repr(error)
        self.send_response(status)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f'ready http://127.0.0.1:{server.server_port}', flush=True)
    with open(os.devnull, 'w', encoding='utf-8') as nowhere:  # the client prints what it does
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            sys.stdin.read()


main()
