#!/usr/bin/env python3
"""Makes docs/desk.png and docs/desk_dark.png: a transaction that had to be repeated, and the overview of a busy server.

Usage: screenshots.py PATH_OF_dtm-server FOLDER
"""
import http.client
import http.server
import json
import pathlib
import random
import sys
import tempfile
import threading
import time

from desk_test import Branches, Server
from webdriver import Browser

FOLDER = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else sys.exit(__doc__))
SECONDS = 100  # of traffic, for the charts


class Bank(Branches):
    """Takes its time, and is away now and then."""
    answers = {}

    def do_POST(self):
        time.sleep(random.uniform(.01, .06))
        path = self.path.split('?')[0]
        times = self.answers[path] = self.answers.get(path, 0) + 1
        if 'flaky' in path and times < 3:
            self.path = '/error'
        elif 'late' in path and times < 2:
            self.path = '/wait'
        else:
            self.path = '/fail' if random.random() < .04 and path == '/TransIn' else '/ok'
        super().do_POST()

    do_GET = do_POST


Branches.REPLIES['/error'] = (503, 'the ledger is being restarted')


def traffic(port, bank, until):
    connection = http.client.HTTPConnection('127.0.0.1', port)
    number = random.randrange(10000)
    while time.monotonic() < until:
        number += 1
        kind = random.choice(['saga', 'saga', 'saga', 'msg'])
        steps = [{'action': f'{bank}/TransOut', 'compensate': f'{bank}/TransOutRevert'}, {'action': f'{bank}/TransIn', 'compensate': f'{bank}/TransInRevert'}]
        if kind == 'msg':
            steps = [{'action': step['action']} for step in steps]
        body = {'gid': f'transfer-{number}', 'trans_type': kind, 'steps': steps, 'payloads': ['{"amount":30}'] * 2}
        connection.request('POST', '/api/dtmsvr/submit', json.dumps(body))
        connection.getresponse().read()
        time.sleep(.12 + .1 * abs((time.monotonic() % 40) - 20) / 20)


def main():
    bank_server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Bank)
    threading.Thread(target=bank_server.serve_forever, daemon=True).start()
    bank = f'http://localhost:{bank_server.server_port}'
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        server = Server(pathlib.Path(folder))
        try:
            until = time.monotonic() + SECONDS
            for _ in range(4):
                threading.Thread(target=traffic, args=(server.port, bank, until), daemon=True).start()
            server.submit('order-20481', (f'{bank}/order/Reserve', f'{bank}/order/Release'), (f'{bank}/order/flaky', f'{bank}/order/Refund'),
                          (f'{bank}/order/late', ''), payload='{"order":20481,"amount":129}', retry_interval=2)
            browser.size(1280, 570)
            browser.look(dark=True)
            browser.open(server.desk)
            time.sleep(SECONDS - 4)
            browser.screenshot(FOLDER / 'desk_dark.png')
            server.ask('resetNextCronTime', {'gid': 'order-20481', 'who': 'Ann', 'why': 'the ledger is back'})
            time.sleep(5)
            browser.look()
            browser.open(server.desk + '#/transaction?gid=order-20481')
            browser.size(1280, 1240)
            browser.wait('document.querySelector("[data-key=diagram]")')
            time.sleep(.5)
            browser.screenshot(FOLDER / 'desk.png')
        finally:
            server.stop()


main()
