"""Runs transactions with dtm's own Python client against a server, and checks from outside what came of them.

  main.py URL ours|go        see ../run.py, which starts it and the server, and installs dtmcli

The scenarios are those of ../go/scenarios.go and others.go. The client has no methods for most options; its users set the fields.
"""
import io
import json
import re
import sys
import threading
import time
import traceback

import requests
from dtmcli import tcc, utils

from service import BROKEN, FAILURE, ONGOING, SUCCESS, Service, check

SERVER, IS_GO = sys.argv[1], sys.argv[2] == 'go'  # docs/http_api.md says where the real server differs
DEADLINE = 60 if IS_GO else 20  # the real server looks every 3 s what is due


def query(gid):
    answer = requests.get(f'{SERVER}/query', params={'gid': gid}, timeout=10)
    check(answer.status_code == 200 and answer.json()['transaction'], f'query says {answer.status_code} {answer.text}')
    return answer.json()


def ends(saga, status, reason='^$', rows=None):
    """Waits until the saga, message or gid has ended, which must be like this. rows: first letters of the statuses of c1, a1, c2, ..."""
    gid = saga if isinstance(saga, str) else saga.trans_base.gid
    end, found = time.monotonic() + DEADLINE, query(gid)
    while found['transaction']['status'] not in ('succeed', 'failed') and time.monotonic() < end:
        time.sleep(0.02)
        found = query(gid)
    transaction = found['transaction']
    check(transaction['status'] == status, f'status is {transaction["status"]} and should be {status}')
    check(re.search(reason, transaction.get('rollback_reason', '')), f'reason is {transaction.get("rollback_reason")!r}')
    got = ''.join(row['status'][0] for row in found['branches'])
    check(rows in (None, got), f'rows are {got} and should be {rows}')


def refused(submit):
    """What is raised by the client."""
    try:
        submit()
    except Exception as error:  # the client raises nothing more special, but for DTMFailureError
        return error
    return None


def crash():
    """Has the server killed and started again on its data."""
    print('crash', flush=True)
    check(sys.stdin.readline().strip() == 'ready', 'the server did not come back')


def answering(which, nth, answer):
    """The nth call of that name is answered so, all others with success. nth 0: every call of it."""
    return lambda name, n: answer if name == which and nth in (0, n) else SUCCESS


def new_gid():
    check(utils.gen_gid(SERVER) != utils.gen_gid(SERVER), 'twice the same')


def success():
    s = Service()
    saga = s.build(SERVER, 4)
    saga.submit()
    ends(saga, 'succeed', rows='pspspsps')
    s.expect('a1 a2 a3 a4')


def rollback():
    s = Service(answering('a2', 1, FAILURE))
    saga = s.build(SERVER, 3)
    saga.submit()
    ends(saga, 'failed', 'no money', 'sssfpp')
    s.expect('a1 a2 c2 c1')


def concurrent_orders():
    def answer(name, nth):
        other = {'a1': 'a2', 'a2': 'a1'}.get(name)
        return SUCCESS if not other or s.called(other, 2) else BROKEN  # each waits for the other
    s = Service(answer)
    saga = s.build(SERVER, 3)
    saga.orders, saga.concurrent = {}, True  # dtmcli 1.7.7.0 forgets to create them
    saga.set_concurrent().add_branch_order(2, [0, 1])
    saga.submit()
    ends(saga, 'succeed', rows='pspsps')
    s.expect('a1 a2 a3', 'a2 a1 a3')


def wait_result():
    s = Service()
    saga = s.build(SERVER, 2)
    saga.trans_base.wait_result = True
    saga.submit()
    check(query(saga.trans_base.gid)['transaction']['status'] == 'succeed', 'it should have ended when submit returned')
    s.expect('a1 a2')


def wait_result_rollback():
    s = Service(answering('a2', 1, FAILURE))
    saga = s.build(SERVER, 2)
    saga.trans_base.wait_result = True
    check(isinstance(refused(saga.submit), utils.DTMFailureError), 'submit should raise DTMFailureError')
    check(query(saga.trans_base.gid)['transaction']['status'] == 'failed', 'it should have ended when submit returned')
    s.expect('a1 a2 c2 c1')


def wait_result_ongoing():
    s = Service(answering('a1', 1, ONGOING))
    saga = s.build(SERVER, 1)
    saga.trans_base.wait_result, saga.trans_base.retry_interval = True, 1
    error = refused(saga.submit)
    # The client must not take "not yet" for "rolled back"; Go says 409, so that it does.
    check(error and isinstance(error, utils.DTMFailureError) == IS_GO, f'submit raised {error!r}')
    ends(saga, 'succeed')
    s.expect('a1 a1')


def ongoing_once():
    s = Service(answering('a1', 1, ONGOING))
    saga = s.build(SERVER, 2)
    saga.trans_base.retry_interval = 1
    saga.submit()
    ends(saga, 'succeed', rows='psps')
    s.expect('a1 a1 a2')


def error_once():
    s = Service(answering('a2', 1, BROKEN))
    saga = s.build(SERVER, 2)
    saga.trans_base.retry_interval = 1
    saga.submit()
    ends(saga, 'succeed', rows='psps')
    s.expect('a1 a2 a2')


def timeout_to_fail():
    s = Service(answering('a1', 0, ONGOING))
    saga = s.build(SERVER, 2)
    saga.trans_base.timeout_to_fail = 1
    saga.submit()
    ends(saga, 'failed', r'^Timeout after \d+ seconds$')
    s.expect('a1 c1', 'a1 a1 c1')


def branch_headers():
    s = Service(answering('a2', 1, FAILURE))
    s.headers = {'X-Tenant': 'seven of nine', 'Authorization': 'Bearer abc'}
    saga = s.build(SERVER, 2)
    saga.trans_base.branch_headers = s.headers
    saga.submit()
    ends(saga, 'failed', 'no money')
    s.expect('a1 a2 c2 c1')


def same_gid_twice():
    again = threading.Event()
    s = Service(lambda name, nth: SUCCESS if name != 'a1' or again.wait(DEADLINE) else BROKEN)
    saga = s.build(SERVER, 2)
    saga.submit()
    check(s.called('a1', DEADLINE), 'a1 was not called')
    error = refused(saga.submit)
    again.set()
    check(not error, f'the second submit raised {error!r}')
    ends(saga, 'succeed')
    if not IS_GO:  # Go begins a second round beside the first
        s.expect('a1 a2')
    error = refused(saga.submit)
    check(isinstance(error, utils.DTMFailureError) if IS_GO else not error, f'submit of an ended saga raised {error!r}')
    saga.trans_base.payloads[1] = json.dumps('other')
    check(isinstance(refused(saga.submit), utils.DTMFailureError), 'another saga under a used gid should be refused')


def crash_unanswered():
    crashed = threading.Event()
    s = Service(lambda name, nth: SUCCESS if (name, nth) != ('a2', 1) or crashed.wait(DEADLINE) else BROKEN)
    saga = s.build(SERVER, 2)
    saga.trans_base.retry_interval = 1
    saga.submit()
    check(s.called('a2', DEADLINE), 'a2 was not called')
    crash()
    crashed.set()
    ends(saga, 'succeed', rows='psps')
    s.expect('a1 a2 a2')


def crash_between():
    """At rest: a1 is done, a2 is to be called again later."""
    crashed = threading.Event()
    s = Service(lambda name, nth: SUCCESS if name != 'a2' or crashed.is_set() else ONGOING)
    saga = s.build(SERVER, 3)
    saga.trans_base.retry_interval = 1
    saga.submit()
    check(s.called('a2', DEADLINE), 'a2 was not called')
    crash()
    crashed.set()
    ends(saga, 'succeed', rows='pspsps')
    s.expect('a1' + ' a2' * s.calls.count('a2') + ' a3')


def msg():
    s = Service(answering('a2', 1, ONGOING))
    message = s.build_msg(SERVER, 3)
    message.prepare(s.at('q0'))
    message.prepare(s.at('q0'))
    s.expect('')
    message.submit()
    ends(message, 'succeed', rows='sss')
    s.expect('a1 a2 a2 a3')


def msg_without_prepare():
    s = Service()
    message = s.build_msg(SERVER, 1).set_wait_result()
    message.submit()
    check(query(s.gid)['transaction']['status'] == 'succeed', 'it should have ended when submit returned')
    s.expect('a1')


def local(error):
    """The local step of a message."""
    def step(_):
        if error:
            raise error
    return step


def msg_do_and_submit():
    """The local step answers yes or no, or gives no answer and is asked for."""
    no, lost = utils.DTMFailureError('no money'), RuntimeError('lost')
    for error, asked, status, calls in [(None, SUCCESS, 'succeed', 'a1'), (no, SUCCESS, 'failed', ''),
                                        (lost, SUCCESS, 'succeed', 'q0 a1'), (lost, FAILURE, 'failed', 'q0')]:
        s = Service(answering('q0', 0, asked))
        message = s.build_msg(SERVER, 1)
        raised = refused(lambda: message.do_and_submit(s.at('q0'), local(error)))  # pylint: disable=cell-var-from-loop
        check(raised is error, f'do_and_submit raised {raised!r}')
        ends(message, status, reason='')
        s.expect(calls)


def msg_query_back():
    """The initiator dies before it submits."""
    for answer, nth, status, calls in [(ONGOING, 1, 'succeed', 'q0 q0 a1'), (FAILURE, 0, 'failed', 'q0')]:
        s = Service(answering('q0', nth, answer))
        message = s.build_msg(SERVER, 1)
        message.trans_base.timeout_to_fail = 1
        message.prepare(s.at('q0'))
        ends(message, status, reason='')
        s.expect(calls)


def run_tcc(s, between=lambda branch: None, branches=2):
    """Returns what tcc_global_transaction does: the gid, or '' if it was aborted."""
    def work(transaction):
        for i in range(1, branches + 1):
            call_branch(s, transaction, str(i))
            between(i)
    s.as_kind(SERVER, 'tcc')
    sys.stderr, stderr = io.StringIO(), sys.stderr  # it prints what went wrong
    try:
        return tcc.tcc_global_transaction(SERVER, s.gid, work)
    finally:
        sys.stderr = stderr


def call_branch(s, transaction, branch):
    transaction.call_branch('pay', s.at('t' + branch), s.at('y' + branch), s.at('n' + branch))


def tcc_success():
    s = Service()
    check(run_tcc(s) == s.gid, 'tcc_global_transaction should return the gid')
    ends(s.gid, 'succeed', rows='psps')
    s.expect('t1 t2 y2 y1')


def tcc_fails():
    for which, calls in [('t1', 't1 n1'), ('t2', 't1 t2 n2 n1')]:
        s = Service(answering(which, 1, FAILURE))
        check(run_tcc(s) == '', 'tcc_global_transaction should say it was aborted')
        ends(s.gid, 'failed', reason='')
        s.expect(calls)


def tcc_nested():
    """The try of the first branch has one of its own, in its own name."""
    for fail, rows, calls in [('', 'pspsps', 't1 t0101 t2 y2 y0101 y1'), ('t2', 'spspsp', 't1 t0101 t2 n2 n0101 n1')]:
        s = Service(answering(fail, 1, FAILURE))

        def inside(name, about, s=s):
            if name == 't1':
                call_branch(s, tcc.tcc_from_req(SERVER, about['gid'], about['branch_id']), '0101')
        s.inside = inside
        check((run_tcc(s) == '') == bool(fail), 'the outcome of tcc_global_transaction')
        ends(s.gid, 'failed' if fail else 'succeed', reason='', rows=rows)
        s.expect(calls)


def crash_msg():
    s = Service()
    message = s.build_msg(SERVER, 2)
    message.do_and_submit(s.at('q0'), lambda _: crash())
    ends(message, 'succeed', rows='ss')
    s.expect('a1 a2')


def crash_tcc():
    s = Service()
    check(run_tcc(s, lambda branch: crash() if branch == 1 else None) == s.gid, 'it should return the gid')
    ends(s.gid, 'succeed', rows='psps')
    s.expect('t1 t2 y2 y1')


SCENARIOS = [new_gid, success, rollback, concurrent_orders, wait_result, wait_result_rollback, wait_result_ongoing,
             ongoing_once, error_once, timeout_to_fail, branch_headers, same_gid_twice, crash_unanswered, crash_between,
             msg, msg_without_prepare, msg_do_and_submit, msg_query_back, tcc_success, tcc_fails, tcc_nested, crash_msg,
             crash_tcc]

for scenario in SCENARIOS:
    try:
        scenario()
        print('ok', scenario.__name__, flush=True)
    except AssertionError as problem:
        print(f'FAILED {scenario.__name__}: {problem}'.replace('\n', ' '), flush=True)
    except Exception as problem:  # pylint: disable=broad-except
        traceback.print_exc()
        print(f'FAILED {scenario.__name__}: {problem!r}'.replace('\n', ' '), flush=True)
