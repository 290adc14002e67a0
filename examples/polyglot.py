#!/usr/bin/env python3
"""The Python half of polyglot.cpp: starts two transfers, whose branches are C++.

  polyglot.py COORDINATOR BANK     URLs; polyglot.cpp says which

With dtm's own client (pip install dtmcli) if there is one, else by the HTTP API itself: it is not more than this.
"""
import json
import sys
import time
import urllib.request

try:
    from dtmcli import saga, utils
except ImportError:
    saga = None

COORDINATOR, BANK = sys.argv[1], sys.argv[2]


def call(operation, body=None):
    """POST with a body, else GET; the answer is JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f'{COORDINATOR}/{operation}', data, {'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def submit_with_dtmcli(amount):
    transfer = saga.Saga(COORDINATOR, utils.gen_gid(COORDINATOR))
    transfer.add({'amount': amount}, f'{BANK}/TransOut', f'{BANK}/TransOutCom')
    transfer.add({'amount': amount}, f'{BANK}/TransIn', f'{BANK}/TransInCom')
    transfer.submit()
    return transfer.trans_base.gid


def submit_by_http(amount):
    gid = call('newGid')['gid']
    call('submit', {
        'gid': gid,
        'trans_type': 'saga',
        'steps': [{'action': f'{BANK}/TransOut', 'compensate': f'{BANK}/TransOutCom'},
                  {'action': f'{BANK}/TransIn', 'compensate': f'{BANK}/TransInCom'}],
        'payloads': [json.dumps({'amount': amount})] * 2,
    })
    return gid


def wait(gid):
    for _ in range(300):
        transaction = call(f'query?gid={gid}')['transaction']
        if transaction['status'] in ('succeed', 'failed'):
            return transaction
        time.sleep(0.1)
    sys.exit(f'{gid} does not end')


submit = submit_with_dtmcli if saga else submit_by_http
print('Python submits', 'with dtmcli' if saga else 'by HTTP (dtmcli is not installed)', flush=True)
for money, expected in ((30, 'succeed'), (60, 'failed')):
    ended = wait(submit(money))
    print(f'  Python transfer {money}: {ended["status"]} {ended.get("rollback_reason", "")}'.rstrip(), flush=True)
    if ended['status'] != expected:
        sys.exit(f'it should have {expected}')
