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

    def submit(self, gid, steps=2, succeeds=True, concurrent=False, orders=(), urls=(), no_undo=(), interval_s=0):
        plan = {'concurrent': concurrent, 'succeeds': succeeds, 'orders': list(orders), 'interval_s': interval_s, 'steps': [
            {'url': i + 1 in urls, 'undo': i + 1 not in no_undo, 'action': 'ok', 'compensate': 'ok'}
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
