#!/usr/bin/env python3
"""The checker has to see every kind of violation: forged logs, each with one thing wrong."""
import json
import sys
import unittest

from checker import Checker


class Forger:
    """Writes logs as clients and branches would, a millisecond after the other."""

    def __init__(self):
        self.lines, self.now, self.calls = [], 1_000_000, 0

    def say(self, kind, *words, at=None):
        self.now += 1000
        self.lines.append(' '.join([kind, str(self.now if at is None else at), *map(str, words)]))

    def submit(self, gid, steps=2, succeeds=True, concurrent=False, orders=(), urls=(), no_undo=(), interval_s=0,
               kind='saga', rows=(), fail=None):
        plan = {'type': kind, 'concurrent': concurrent, 'succeeds': succeeds, 'orders': list(orders), 'interval_s': interval_s, 'steps': [
            {'url': i + 1 in urls, 'undo': i + 1 not in no_undo, 'action': 'fail' if i + 1 == fail else 'ok',
             'rows': i + 1 in rows, 'compensate': 'ok'}
            for i in range(steps)]}
        self.say('I', 1, gid, json.dumps(plan, separators=(',', ':')))
        self.say('A', 1, gid)

    def begin(self, gid, branch, op, life=1, who='function', payload_gid=None, step=None):
        self.calls += 1
        self.say('B', life, gid, f'{branch:02}', op, self.calls, payload_gid or gid, step or branch, who)
        return self.calls

    def end(self, gid, branch, op, number, answer, life=1):
        self.say('E', life, gid, f'{branch:02}', op, number, answer)

    def call(self, gid, branch, op='action', answer='success', life=1, **more):
        self.end(gid, branch, op, self.begin(gid, branch, op, life, **more), answer, life)

    def wait(self, seconds):
        self.now += int(seconds * 1_000_000)

    def list(self, life=1, **statuses):
        for gid, status in statuses.items():
            self.say('D', life, gid, status)
        self.say('T', life)

    def kill(self, life=1):
        self.say('K', life)


def kinds(forger):
    checker = Checker()
    checker.read(forger.lines)
    return sorted({kind for kind, _, _ in checker.check()})


class CheckerTest(unittest.TestCase):
    def setUp(self):
        self.f = Forger()

    def expect(self, *expected):
        self.assertEqual(kinds(self.f), sorted(expected))

    def succeeded(self, gid='g', **plan):
        self.f.submit(gid, **plan)
        self.f.call(gid, 1)
        self.f.call(gid, 2)

    def failed(self, gid='g', **plan):
        self.f.submit(gid, succeeds=False, **plan)
        self.f.call(gid, 1)
        self.f.call(gid, 2, answer='failure')

    def undone(self, gid='g', **plan):
        self.failed(gid, **plan)
        self.f.call(gid, 2, 'compensate')
        self.f.call(gid, 1, 'compensate')

    # Nothing wrong

    def test_good(self):
        self.succeeded('g')
        self.undone('h')
        self.f.list(g='succeed', h='failed')
        self.expect()

    def test_good_repeats_after_a_crash(self):
        f = self.f
        f.submit('g')
        f.call('g', 1)
        f.begin('g', 2, 'action')
        f.kill()
        f.list(2, g='submitted')
        f.call('g', 2, life=2)
        f.say('F', 2, 'g', 'succeed')
        f.list(3, g='succeed')
        self.expect()

    def test_good_retries(self):
        f = self.f
        f.submit('g', urls=[1])
        for answer in ('ongoing', 'error'):
            f.call('g', 1, answer=answer, who='url')
            f.wait(0.06)
        f.call('g', 1, answer='lost', who='url')
        f.call('g', 1, who='url')
        f.call('g', 2)
        f.list(g='succeed')
        self.expect()

    def test_good_url_of_a_killed_life_given_up_at_its_deadline(self):
        f = self.f
        f.submit('g', succeeds=False, urls=[1], concurrent=True)
        late = f.begin('g', 1, 'action', who='url')
        f.call('g', 2, answer='failure')
        f.kill()
        f.call('g', 2, 'compensate', life=2)
        f.wait(2.1)
        f.call('g', 1, 'compensate', life=2, who='url')
        f.end('g', 1, 'action', late, 'success')
        f.list(2, g='failed')
        self.expect()

    def test_good_without_a_compensation(self):
        self.failed(no_undo=[2])
        self.f.call('g', 1, 'compensate')
        self.f.list(g='failed')
        self.expect()

    # Accepted is never lost, final is final

    def test_lost(self):
        self.succeeded()
        self.f.list(h='submitted')
        self.expect('lost', 'foreign', 'unfinished')

    def test_lost_in_between(self):
        self.succeeded()
        self.f.list()
        self.f.list(g='succeed')
        self.expect('lost')

    def test_unfinished(self):
        self.succeeded()
        self.f.list(g='submitted')
        self.expect('unfinished')

    def test_final_changed(self):
        self.succeeded()
        self.f.say('F', 1, 'g', 'failed')
        self.f.list(g='succeed')
        self.assertIn('final_changed', kinds(self.f))

    def test_final_became_unfinished(self):
        self.succeeded()
        self.f.list(g='succeed')
        self.f.list(g='submitted')
        self.expect('final_changed', 'unfinished')

    def test_backwards(self):
        self.undone()
        self.f.list(g='aborting')
        self.f.list(g='submitted')
        self.f.list(g='failed')
        self.expect('backwards')

    def test_called_after_final(self):
        self.succeeded()
        self.f.list(g='succeed')
        self.f.kill()
        self.f.call('g', 2, life=2)
        self.f.list(g='succeed')
        self.expect('called_after_final')

    def test_outcome(self):
        self.succeeded(succeeds=False)
        self.f.list(g='succeed')
        self.expect('outcome')

    def test_refused(self):
        self.succeeded()
        self.f.say('R', 1, 'g', 'the disk is full')
        self.f.list(g='succeed')
        self.expect('refused')

    def test_never_submitted(self):
        self.succeeded()
        self.f.list(g='succeed', other='succeed')
        self.expect('foreign')

    # Half done

    def test_action_missing(self):
        self.f.submit('g')
        self.f.call('g', 1)
        self.f.list(g='succeed')
        self.expect('half_done')

    def test_action_without_success(self):
        self.f.submit('g')
        self.f.call('g', 1)
        self.f.call('g', 2, answer='error')
        self.f.list(g='succeed')
        self.expect('half_done')

    def test_succeeded_and_compensated(self):
        self.succeeded()
        self.f.call('g', 2, 'compensate')
        self.f.list(g='succeed')
        self.expect('half_done')

    def test_not_compensated(self):
        self.failed()
        self.f.call('g', 2, 'compensate')
        self.f.list(g='failed')
        self.expect('half_done')

    def test_compensation_without_success(self):
        self.failed()
        self.f.call('g', 2, 'compensate')
        self.f.call('g', 1, 'compensate', answer='error')
        self.f.list(g='failed')
        self.expect('half_done')

    def test_compensated_before_the_last_call(self):
        f = self.f
        f.submit('g', succeeds=False, steps=2, concurrent=True)
        f.call('g', 1, answer='failure')
        f.call('g', 1, 'compensate')
        f.kill()
        f.call('g', 1, answer='failure', life=2)
        f.list(2, g='failed')
        self.expect('action_after_undo', 'half_done')

    def test_compensated_while_the_action_runs(self):
        f = self.f
        f.submit('g', succeeds=False, urls=[1], concurrent=True)
        late = f.begin('g', 1, 'action', who='url')
        f.call('g', 2, answer='failure')
        f.kill()
        f.call('g', 2, 'compensate', life=2)
        f.call('g', 1, 'compensate', life=2, who='url')
        f.end('g', 1, 'action', late, 'success')
        f.list(2, g='failed')
        self.expect('undo_too_soon')

    def test_function_compensated_while_it_runs(self):
        f = self.f
        f.submit('g', succeeds=False, concurrent=True)
        late = f.begin('g', 1, 'action')
        f.call('g', 2, answer='failure')
        f.call('g', 2, 'compensate')
        f.call('g', 1, 'compensate')
        f.end('g', 1, 'action', late, 'success')
        f.list(g='failed')
        self.expect('undo_too_soon')

    # Order

    def test_second_step_first(self):
        self.f.submit('g')
        self.f.call('g', 2)
        self.f.call('g', 1)
        self.f.list(g='succeed')
        self.expect('order')

    def test_second_step_without_success_of_the_first(self):
        f = self.f
        f.submit('g')
        f.call('g', 1, answer='error')
        f.call('g', 2)
        f.wait(0.1)
        f.call('g', 1)
        f.list(g='succeed')
        self.expect('order')

    def test_first_step_again_after_the_second(self):
        self.succeeded()
        self.f.kill()
        self.f.call('g', 1, life=2)
        self.f.list(2, g='succeed')
        self.expect('order')

    def test_branch_order(self):
        self.f.submit('g', concurrent=True, orders=[[1, 2]])
        self.f.call('g', 1)
        self.f.call('g', 2)
        self.f.list(g='succeed')
        self.expect('order')

    def test_compensated_forwards(self):
        self.failed()
        self.f.call('g', 1, 'compensate')
        self.f.call('g', 2, 'compensate')
        self.f.list(g='failed')
        self.expect('undo_order')

    def test_compensated_forwards_across_a_step_without(self):
        f = self.f
        f.submit('g', steps=3, succeeds=False, no_undo=[2])
        f.call('g', 1)
        f.call('g', 2)
        f.call('g', 3, answer='failure')
        f.call('g', 1, 'compensate')
        f.call('g', 3, 'compensate')
        f.list(g='failed')
        self.expect('undo_order')

    def test_branch_order_compensated_forwards(self):
        self.failed(concurrent=True, orders=[[2, 1]])
        self.f.call('g', 1, 'compensate')
        self.f.call('g', 2, 'compensate')
        self.f.list(g='failed')
        self.expect('undo_order')

    def test_action_after_the_first_compensation(self):
        f = self.f
        f.submit('g', succeeds=False, concurrent=True)
        f.call('g', 1, answer='failure')
        f.call('g', 1, 'compensate')
        f.call('g', 2)
        f.call('g', 2, 'compensate')
        f.list(g='failed')
        self.expect('action_after_undo')

    # One branch

    def test_two_calls_at_once(self):
        f = self.f
        f.submit('g')
        one = f.begin('g', 1, 'action')
        two = f.begin('g', 1, 'action')
        f.end('g', 1, 'action', one, 'success')
        f.end('g', 1, 'action', two, 'success')
        f.call('g', 2)
        f.list(g='succeed')
        self.expect('overlap')

    def test_again_after_success(self):
        self.f.submit('g')
        self.f.call('g', 1)
        self.f.call('g', 1)
        self.f.call('g', 2)
        self.f.list(g='succeed')
        self.expect('repeated')

    def test_url_again_after_success(self):
        self.f.submit('g', urls=[1])
        self.f.call('g', 1, who='url')
        self.f.wait(0.9)
        self.f.call('g', 1, who='url')
        self.f.call('g', 2)
        self.f.list(g='succeed')
        self.expect('repeated')

    def test_good_url_again_after_an_answer_that_came_late(self):
        self.f.submit('g', urls=[1])
        self.f.call('g', 1, who='url')
        self.f.wait(1.1)
        self.f.call('g', 1, who='url')
        self.f.call('g', 2)
        self.f.list(g='succeed')
        self.expect()

    def test_function_again_long_after_its_success(self):
        self.f.submit('g')
        self.f.call('g', 1)
        self.f.wait(3)
        self.f.call('g', 1)
        self.f.call('g', 2)
        self.f.list(g='succeed')
        self.expect('repeated')

    def test_again_after_failure(self):
        self.failed()
        self.f.call('g', 2, answer='failure')
        self.f.call('g', 2, 'compensate')
        self.f.call('g', 1, 'compensate')
        self.f.list(g='failed')
        self.expect('repeated')

    def test_retried_early(self):
        for gid, answer in (('g', 'error'), ('h', 'ongoing')):
            self.f.submit(gid)
            self.f.call(gid, 1, answer=answer)
            self.f.call(gid, 1)
            self.f.call(gid, 2)
        self.f.list(g='succeed', h='succeed')
        self.expect('early')

    def test_retried_before_its_own_interval(self):
        self.f.submit('g', interval_s=1)
        self.f.call('g', 1, answer='error')
        self.f.wait(0.5)
        self.f.call('g', 1)
        self.f.call('g', 2)
        self.f.list(g='succeed')
        self.expect('early')

    # Foreign

    def foreign(self, **call):
        self.f.submit('g')
        self.f.call('g', 1)
        self.f.call('g', 2, **call)
        self.f.list(g='succeed')
        self.expect('foreign')

    def test_payload_of_another_gid(self):
        self.foreign(payload_gid='gg')

    def test_payload_of_another_step(self):
        self.foreign(step=1)

    def test_url_instead_of_a_function(self):
        self.foreign(who='url')

    def test_unknown_step(self):
        self.succeeded()
        self.f.call('g', 3)
        self.f.list(g='succeed')
        self.expect('foreign')

    def test_compensation_that_is_none(self):
        self.undone(no_undo=[2])
        self.f.list(g='failed')
        self.expect('foreign')

    # Promises to clients

    def test_good_promises(self):
        self.succeeded()
        self.f.say('Y', 1, 'g', 'succeed')
        self.f.list(g='succeed')
        self.expect()

    def test_promised_success(self):
        self.undone()
        self.f.say('Y', 1, 'g', 'succeed')
        self.f.list(g='failed')
        self.expect('promise')

    def test_promised_nothing(self):
        self.message('outbox', committed=True)
        self.f.say('Y', 1, 'g', 'nothing')
        self.f.list(g='succeed')
        self.expect('promise')

    def test_promised_and_unknown(self):
        self.f.submit('g', kind='tcc')
        self.f.say('Y', 1, 'g', 'failed')
        self.f.list()
        self.expect('lost', 'promise')

    def test_prepared_is_not_the_end(self):
        self.f.submit('g', kind='tcc')
        self.f.list(g='prepared')
        self.expect('unfinished')

    # Messages

    def message(self, kind='message', committed=True, calls=(1, 2)):
        self.f.submit('g', kind=kind)
        for branch in calls:
            self.f.call('g', branch)
        if committed:
            self.f.say('L' if kind == 'message' else 'O', 1, 'g')

    def test_good_messages(self):
        for kind in ('message', 'outbox'):
            self.f = Forger()
            self.message(kind)
            self.f.list(g='succeed')
            self.expect()

    def test_good_message_not_committed(self):
        self.message(committed=False, calls=())
        self.f.list(g='failed')
        self.expect()

    def test_good_outbox_not_committed(self):
        self.f.say('I', 1, 'g', json.dumps({'type': 'outbox', 'succeeds': True, 'interval_s': 0, 'steps': []}))
        self.f.list()
        self.expect()

    def test_committed_and_not_delivered(self):
        self.message(calls=())
        self.f.list(g='failed')
        self.expect('message')

    def test_committed_and_delivered_in_part(self):
        self.message(calls=(1,))
        self.f.list(g='succeed')
        self.expect('message')

    def test_delivered_and_not_committed(self):
        self.message(committed=False)
        self.f.list(g='succeed')
        self.expect('message')

    def test_called_and_not_committed(self):
        self.message(committed=False, calls=(1,))
        self.f.list(g='failed')
        self.expect('message')

    def test_committed_twice(self):
        self.message()
        self.f.say('L', 1, 'g')
        self.f.list(g='succeed')
        self.expect('effect')

    def test_delivered_in_another_order(self):
        self.message(calls=(2, 1))
        self.f.list(g='succeed')
        self.expect('message')

    def test_outbox_row_without_message(self):
        self.f.say('I', 1, 'g', json.dumps({'type': 'outbox', 'succeeds': True, 'interval_s': 0, 'steps': []}))
        self.f.say('O', 1, 'g')
        self.f.list()
        self.expect('message')

    def test_outbox_message_without_row(self):
        self.message('outbox', committed=False)
        self.f.list(g='succeed')
        self.expect('message')

    # Rows in the coordinator's file

    def rows(self, counts, end='succeed', second='success', fail=None):
        """Rows of c1, a1, c3, a3; the second step is a function outside."""
        f = self.f
        f.submit('g', kind='rows', steps=3, rows=(1, 3), succeeds=end == 'succeed', fail=fail)
        f.call('g', 2, answer=second)
        if end == 'failed':
            f.call('g', 2, 'compensate')
        names = [(branch, op) for branch in (1, 3) for op in ('compensate', 'action')]
        for (branch, op), count in zip(names, counts):
            f.say('S', 1, 'g', f'{branch:02}', op, 'succeed' if count else 'prepared', count)
        f.list(g=end)

    def test_good_rows(self):
        self.rows((0, 1, 0, 1))
        self.expect()
        self.f = Forger()
        self.rows((1, 1, 0, 0), 'failed', 'failure', fail=2)
        self.expect()

    def test_good_rows_of_a_refusal(self):
        for of_the_victim in (0, 1):
            self.f = Forger()
            self.rows((1, 1, of_the_victim, 0), 'failed', fail=3)
            self.expect()

    def test_row_missing(self):
        self.rows((0, 1, 0, 0))
        self.expect('effect')

    def test_row_twice(self):
        self.rows((0, 2, 0, 1))
        self.expect('effect')

    def test_row_without_status(self):
        self.rows((0, 1, 0, 1))
        self.f.say('S', 1, 'g', '03', 'action', 'prepared', 1)
        self.expect('effect')

    def test_status_without_row(self):
        self.rows((0, 1, 0, 1))
        self.f.say('S', 1, 'g', '03', 'action', 'succeed', 0)
        self.expect('effect')

    def test_row_not_taken_back(self):
        self.rows((0, 1, 0, 0), 'failed', 'failure', fail=2)
        self.expect('effect')

    def test_row_of_a_refusal(self):
        self.rows((1, 1, 1, 1), 'failed', fail=3)
        self.expect('effect')

    def test_row_beside_a_branch_without_effect(self):
        self.rows((0, 1, 0, 1), second='error')
        self.expect('effect')

    def test_row_beside_a_branch_that_is_not_compensated(self):
        f = self.f
        f.submit('g', kind='rows', steps=2, rows=(1,), succeeds=False, fail=2)
        f.call('g', 2, answer='failure')
        for op in ('compensate', 'action'):
            f.say('S', 1, 'g', '01', op, 'succeed', 1)
        f.list(g='failed')
        self.expect('effect')

    def test_row_of_a_branch_that_leaves_none(self):
        self.rows((0, 1, 0, 1))
        self.f.call('g', 1)
        self.expect('called_after_final', 'foreign')

    # Tcc

    def tcc(self, end, calls, tries=(1, 2), **plan):
        self.f.submit('g', kind='tcc', **plan)
        for branch in tries:
            self.f.call('g', branch, 'try')
        for branch, op in calls:
            self.f.call('g', branch, op)
        self.f.list(g=end)

    def test_good_tcc(self):
        self.tcc('succeed', [(2, 'confirm'), (1, 'confirm')])
        self.expect()
        self.f = Forger()
        self.tcc('failed', [(2, 'cancel'), (1, 'cancel')])  # its initiator has died
        self.expect()
        self.f = Forger()
        self.tcc('failed', [(2, 'cancel'), (1, 'cancel')], tries=(1,))  # the second was registered only
        self.expect()

    def test_tcc_that_has_to_fail(self):
        self.tcc('succeed', [(2, 'confirm'), (1, 'confirm')], succeeds=False)
        self.expect('outcome')

    def test_tcc_without_a_try(self):
        self.tcc('succeed', [(2, 'confirm'), (1, 'confirm')], tries=(1,))
        self.expect('tcc')

    def test_tcc_confirmed_in_part(self):
        self.tcc('succeed', [(2, 'confirm')])
        self.expect('tcc')

    def test_tcc_cancelled_in_part(self):
        self.tcc('failed', [(2, 'cancel')])
        self.expect('tcc')

    def test_tcc_confirmed_and_cancelled(self):
        self.tcc('succeed', [(2, 'confirm'), (1, 'confirm'), (1, 'cancel')])
        self.expect('tcc')

    def test_tcc_cancelled_forwards(self):
        self.tcc('failed', [(1, 'cancel'), (2, 'cancel')])
        self.expect('tcc')

    def test_tcc_confirmed_again(self):
        f = self.f
        f.submit('g', kind='tcc')
        for branch, op in ((1, 'try'), (2, 'try'), (2, 'confirm'), (1, 'confirm')):
            f.call('g', branch, op)
        f.kill()
        f.call('g', 2, 'confirm', life=2)
        f.list(2, g='succeed')
        self.expect('tcc')

    # Xa

    def xa(self, end, calls, actions=((1, 'success'), (2, 'success')), **plan):
        self.f.submit('g', kind='xa', urls=(2,), **plan)
        for branch, answer in actions:
            self.f.call('g', branch, answer=answer, who='url' if branch == 2 else 'function')
        for branch, op in calls:
            self.f.call('g', branch, op, who='url' if branch == 2 else 'function')
        self.f.list(g=end)

    def test_good_xa(self):
        self.xa('succeed', [(1, 'commit'), (2, 'commit')])
        self.expect()
        self.f = Forger()
        self.xa('failed', [(1, 'rollback')], [(1, 'success'), (2, 'failure')], succeeds=False)
        self.expect()
        self.f = Forger()
        self.xa('failed', [(1, 'rollback'), (2, 'rollback')])  # its initiator has died
        self.expect()
        self.f = Forger()
        self.xa('failed', [(1, 'rollback')], [(1, 'success')])
        self.f.call('g', 2, answer='error', who='url')  # its registration was refused
        self.expect()

    def test_xa_without_a_part(self):
        self.xa('succeed', [(1, 'commit')], [(1, 'success')])
        self.expect('xa')

    def test_xa_committed_in_part(self):
        self.xa('succeed', [(1, 'commit')])
        self.expect('xa')

    def test_xa_rolled_back_in_part(self):
        self.xa('failed', [(1, 'rollback')])
        self.expect('xa')
        self.f = Forger()
        self.xa('failed', [(1, 'rollback')], [(1, 'success'), (2, 'lost')])
        self.expect('xa')

    def test_xa_committed_and_rolled_back(self):
        self.xa('succeed', [(1, 'commit'), (2, 'commit'), (2, 'rollback')])
        self.expect('xa')
        self.f = Forger()
        self.xa('failed', [(1, 'rollback'), (2, 'rollback'), (1, 'commit')])
        self.expect('xa')

    def test_xa_committed_backwards(self):
        self.xa('succeed', [(2, 'commit'), (1, 'commit')])
        self.expect('xa')

    def test_xa_that_has_to_fail(self):
        self.xa('succeed', [(1, 'commit'), (2, 'commit')], succeeds=False)
        self.expect('outcome')

    def test_xa_prepared_after_its_end(self):
        self.xa('failed', [(1, 'rollback')], [(1, 'success')])
        self.f.call('g', 2, who='url')
        self.expect('called_after_final', 'xa')

    # Workflows

    def workflow(self, end, calls, answers=None, **plan):
        """calls: (branch, op) or (branch, op, answer)."""
        self.f.submit('g', kind='workflow', succeeds=end == 'succeed', **plan)
        for call in calls:
            self.f.call('g', *call)
        if answers:
            self.f.say('W', 1, 'g', answers)
        self.f.list(g=end)

    ACTIONS, COMMITS = [(1, 'action'), (2, 'action')], [(2, 'commit'), (1, 'commit')]

    def test_good_workflow(self):
        self.workflow('succeed', self.ACTIONS + self.COMMITS, '1:1.1,2:1.2')
        self.expect()
        self.f = Forger()
        self.workflow('failed', [(1, 'action'), (2, 'action', 'failure'), (1, 'rollback')])
        self.expect()

    def test_good_workflow_that_is_resumed(self):
        f = self.f
        f.submit('g', kind='workflow')
        f.call('g', 1)
        f.kill()
        f.call('g', 1, life=2)  # it was not recorded
        f.call('g', 2, answer='error', life=2)
        f.call('g', 2, life=2)
        for branch, op in self.COMMITS:
            f.call('g', branch, op, life=2)
        f.say('W', 2, 'g', '1:2.2,2:2.4')
        f.list(2, g='succeed')
        self.expect()

    def test_recorded_step_done_again(self):
        f = self.f
        f.submit('g', kind='workflow')
        f.call('g', 1)
        f.call('g', 2, answer='error')
        f.kill()
        f.call('g', 1, life=2)
        f.call('g', 2, life=2)
        for branch, op in self.COMMITS:
            f.call('g', branch, op, life=2)
        f.list(2, g='succeed')
        self.expect('workflow')

    def test_workflow_with_another_answer(self):
        self.workflow('succeed', self.ACTIONS + self.COMMITS, '1:1.1,2:1.1')
        self.expect('workflow')

    def test_workflow_without_a_step(self):
        self.workflow('succeed', [(1, 'action'), (1, 'commit')])
        self.expect('workflow')

    def test_workflow_without_a_callback(self):
        self.workflow('succeed', self.ACTIONS + [(2, 'commit')])
        self.expect('workflow')
        self.f = Forger()
        self.workflow('failed', [(1, 'action'), (2, 'action', 'failure')])
        self.expect('workflow')

    def test_workflow_rolled_back_forwards(self):
        self.workflow('failed', [(1, 'action'), (2, 'action'), (3, 'action', 'failure'), (1, 'rollback'), (2, 'rollback')],
                      steps=3)
        self.expect('workflow')

    def test_workflow_rolled_back_what_failed(self):
        self.workflow('failed', [(1, 'action'), (2, 'action', 'failure'), (2, 'rollback'), (1, 'rollback')])
        self.expect('workflow')

    def test_workflow_committed_and_rolled_back(self):
        self.workflow('succeed', self.ACTIONS + self.COMMITS + [(1, 'rollback')])
        self.expect('workflow')

    def test_workflow_committed_too_soon(self):
        self.workflow('succeed', [(1, 'action'), (1, 'commit'), (2, 'action'), (2, 'commit')])
        self.expect('workflow')

    # The logs themselves

    def test_answer_without_call(self):
        self.succeeded()
        self.f.end('g', 2, 'action', 77, 'success')
        self.f.list(g='succeed')
        self.expect('unmatched')

    def test_unknown_line(self):
        self.succeeded()
        self.f.say('Z', 1, 'g', 'what')
        self.f.list(g='succeed')
        self.expect('unreadable')

    def test_no_list(self):
        self.succeeded()
        self.expect('unreadable')

    def test_every_kind_is_tested(self):
        """A new kind of complaint needs a forged log."""
        import re
        from pathlib import Path
        here = Path(__file__).parent
        named = set(re.findall(r"complain\('(\w+)'", (here / 'checker.py').read_text())) | {'final_changed', 'backwards'}
        tests = Path(__file__).read_text()
        self.assertEqual([kind for kind in sorted(named) if f"'{kind}'" not in tests], [])
        self.assertGreater(len(named), 15)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
