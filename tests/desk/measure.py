#!/usr/bin/env python3
"""Measures the desk on a large store, for docs/numbers.md: pages of the list by each filter, transactions, and what an open desk costs the
server when nothing happens. The times are those of the requests, as the browser saw them.

Usage: measure.py PATH_OF_dtm-server [FINISHED [UNFINISHED]]
"""
import http.server
import pathlib
import sqlite3
import sys
import tempfile
import threading
import time

from desk_test import Branches, Server, until
from webdriver import Browser

FINISHED, UNFINISHED = (int(text) for text in (sys.argv[1:3] + ['1000000', '10000'][len(sys.argv) - 1:])[:2])
SECONDS = 20
# Rows like that of a gid, with other gids and an age of their own; the definition and the journal do not have the gid in them.
COPY = """INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, definition, state, journal)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT :name || i, type, status, version, created - (:count - i) * 1000000, finished - CASE finished WHEN 0 THEN 0 ELSE (:count - i) * 1000000 END, due, definition, state, journal
FROM n, dtm_trans WHERE gid = :gid"""
JOURNALS = """INSERT INTO dtm_journal SELECT t.id, j.entries FROM dtm_trans t, dtm_journal j
WHERE t.gid LIKE :name || '%' AND j.trans = (SELECT id FROM dtm_trans WHERE gid = :gid)"""
PLACES = ['', 'status=succeed', 'status=failed', 'type=tcc', 'unfinished=1', 'stuck=1', 'errors=1', 'gid=done-7', 'gid=nothing', 'target=TransIn', 'target=nowhere', 'age=3600', 'unfinished=1&errors=1']
TIMES = """return performance.getEntriesByType("resource").filter(one => one.name.includes(arguments[0])).map(one => one.duration)"""


def fill(path, branch):
    """From one finished transaction and one that waits, as a server has written them."""
    server = Server(path.parent, db=path.name)
    server.submit('model-done', (branch + '/TransOut', branch + '/ok'), (branch + '/TransIn', branch + '/ok'), payload='{"account":"AB12345678","amount":100,"currency":"EUR"}')
    server.submit('model-open', (branch + '/TransOut', branch + '/ok'), (branch + '/error', branch + '/ok'), payload='{"account":"AB12345678","amount":100,"currency":"EUR"}')
    until(lambda: server.status('model-done') == 'succeed' and 'last_error' in server.ask('query', gid='model-open')[1]['transaction'])
    server.stop()
    db = sqlite3.connect(path)
    with db:
        for name, count, gid in (('done-', FINISHED, 'model-done'), ('open-', UNFINISHED, 'model-open')):
            values = {'name': name, 'count': count, 'gid': gid}
            db.execute(COPY, values)
            db.execute(JOURNALS, values)
    db.close()


class Desk:
    def __init__(self, browser, server):
        self.browser, self.server = browser, server

    def ask(self, place, request, until_shown):
        """The slowest of the requests of this page, in ms; and how many there were."""
        browser = self.browser
        browser.open('about:blank')
        browser.open(self.server.desk + '#/' + place)
        begin = time.monotonic()
        browser.wait(until_shown, seconds=60)
        shown = time.monotonic() - begin
        times = browser.run(TIMES, request)
        return max(times), len(times), shown * 1000

    def cpu_share(self):
        begin, cpu = time.monotonic(), self.server.cpu_seconds()
        time.sleep(SECONDS)
        return (self.server.cpu_seconds() - cpu) / (time.monotonic() - begin)


def main():
    branches = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Branches)
    Branches.REPLIES.update({'/TransOut': Branches.REPLIES['/ok'], '/TransIn': Branches.REPLIES['/ok']})
    threading.Thread(target=branches.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        path = pathlib.Path(folder) / 'large.db'
        begin = time.monotonic()
        fill(path, f'http://127.0.0.1:{branches.server_port}')
        print(f'{FINISHED} finished, {UNFINISHED} unfinished, {path.stat().st_size >> 20} MiB, written in {time.monotonic() - begin:.0f} s', flush=True)
        server = Server(path.parent, db=path.name)
        try:
            desk = Desk(browser, server)
            listed = 'document.querySelector("section[aria-busy=false]")'
            for place in PLACES:
                runs = [desk.ask('list?' + place, '/all?', listed) for _ in range(3)]
                print(f'list {place or "(all)":24} slowest request {min(run[0] for run in runs):6.1f} ms of {runs[0][1]:3}, shown after {min(run[2] for run in runs):6.0f} ms', flush=True)
            for gid in ('done-500000', 'open-5000'):
                runs = [desk.ask('transaction?gid=' + gid, '/timeline?', 'document.querySelector("[data-key=diagram]")') for _ in range(5)]
                print(f'timeline {gid:20} {min(run[0] for run in runs):6.1f} ms', flush=True)
            for place in ('', 'list', 'transaction?gid=open-5000', 'nodes'):
                browser.open('about:blank')
                browser.open(server.desk + '#/' + place)
                browser.wait('document.querySelector(".dot.good")')
                print(f'open at {place or "overview":26} {desk.cpu_share() * 100:.2f} % of a CPU', flush=True)
            browser.open('about:blank')
            print(f'not open {"":25} {desk.cpu_share() * 100:.2f} % of a CPU', flush=True)
        finally:
            server.stop()


main()
