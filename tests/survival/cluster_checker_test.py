#!/usr/bin/env python3
"""The checker of the cluster has to see every kind of violation: forged histories, each with one thing wrong."""
import json
import re
import sys
import unittest
from pathlib import Path

from cluster_checker import ABORTING, Change, ClusterChecker, FAILED, Member, PREPARED, Row, SUBMITTED, SUCCEED


class Forger:
    """Writes what processes and the database would, a millisecond after the other. Member 1 is a1, member 2 is b1."""

    def __init__(self):
        self.now, self.lines, self.rows, self.changes, self.members, self.effects = 1_000_000, [], {}, [], [], []
        self.say('M', 'a1', 1)
        self.say('M', 'b1', 2)

    def say(self, kind, life, *words):
        self.now += 1000
        self.lines.append(' '.join([kind, str(self.now), life, *map(str, words)]))

    def submit(self, gid='g', life='a1', fails=(False,), told='A', kind='saga'):
        self.say('I', life, gid, json.dumps({'type': kind, 'fails': list(fails), 'succeeds': not any(fails)}))
        if told:
            self.say(told, life, gid, 'submitted')

    def write(self, gid='g', owner=1, status=SUBMITTED, skip=0):
        self.now += 1000
        row = self.rows.get(gid, Row(7, gid, 0, 0, 0, False))
        version = row.version + 1 + skip
        self.changes.append(Change(7, gid, row.version, version, row.owner, owner, row.status, status, self.now))
        self.rows[gid] = Row(7, gid, version, status, owner, status in (SUCCEED, FAILED))

    def inherit(self, dead=1, heir=2):
        self.now += 1000
        self.members.append(Member(dead, 0, heir, self.now))

    def call(self, gid='g', life='a1', step=1, op='action', member=1, takes_effect=True, asked=None):
        self.say('B', life, gid, step, op, member, self.now + 1 if asked is None else asked)
        if takes_effect:
            self.effects.append((gid, step, op))
        self.say('E', life, gid, step, op, 0)

    def request(self, gid='g', life='a1', step=1, op='action', direct=False, late=0):
        """By URL; it arrives so many microseconds after it was sent."""
        self.now += 1000
        name = '-' if direct else f'{len(self.lines)}'
        if not direct:
            self.lines.append(f'W {self.now} {life} {name} {self.now}')
        self.lines.append(f'V {self.now + late} {life} {gid} {step} {op} {name}')
        self.effects.append((gid, step, op))

    def whole(self, kind, ops, status, fails=(False,)):
        """One of this type that ended so, with these ops of its step 1."""
        self.submit(kind=kind, fails=fails)
        self.write(status=PREPARED)
        self.effects += [('g', 1, op) for op in ops]
        self.write(status=status)

    def saga(self, gid='g'):
        self.submit(gid)
        self.write(gid)
        self.call(gid)
        self.write(gid, status=SUCCEED)

    def check(self):
        checker = ClusterChecker()
        checker.read_log(self.lines)
        checker.read_database(self.rows.values(), self.changes, self.members, self.effects)
        return checker, sorted({kind for kind, _, _ in checker.check()})


class ClusterCheckerTest(unittest.TestCase):
    def setUp(self):
        self.f = Forger()

    def expect(self, *kinds):
        self.assertEqual(self.f.check()[1], sorted(kinds))

    def test_good(self):
        self.f.saga()
        self.expect()

    def test_rolled_back(self):
        self.f.submit(fails=(False, True))
        self.f.write()
        self.f.call()
        self.f.call(step=2, takes_effect=False)
        self.f.write(status=ABORTING)
        self.f.call(op='compensate')
        self.f.write(status=FAILED)
        self.expect()

    def test_taken_over(self):
        self.f.submit()
        self.f.write()
        self.f.call(takes_effect=False)
        self.f.say('K', 'a1')
        self.f.inherit()
        self.f.write(owner=2)
        self.f.call(life='b1', member=2)
        self.f.write(owner=2, status=SUCCEED)
        checker, kinds = self.f.check()
        self.assertEqual(kinds, [])
        self.assertEqual([(each.time, each.life, each.inherited, each.claimed) for each in checker.takeovers], [(3000, 'a1', 1000, 2000)])

    def test_prepared_one_that_another_submits(self):
        """Its owner was cut off for a moment, and lives: that is no takeover."""
        self.f.submit(kind='tcc', life='b1')
        self.f.write(status=PREPARED)
        self.f.say('D', 'a1')
        self.f.effects.append(('g', 1, 'try'))
        self.f.write(owner=2)
        self.f.call(op='confirm', life='b1', member=2)
        self.f.write(owner=2, status=SUCCEED)
        checker, kinds = self.f.check()
        self.assertEqual((kinds, checker.takeovers), ([], []))

    def test_lost(self):
        self.f.submit()
        self.expect('lost')

    def test_lost_with_effect(self):
        self.f.submit(told='U')
        self.f.effects.append(('g', 1, 'action'))
        self.expect('lost')

    def test_in_doubt(self):
        self.f.submit(told='U')
        self.expect()

    def test_refused(self):
        self.f.submit(told='R')
        self.f.write()
        self.f.call()
        self.f.write(status=SUCCEED)
        self.expect('refused')

    def test_refused_at_one_of_two(self):
        self.f.submit(told='R')
        self.f.saga()
        self.f.submit(life='b1', told='R')
        self.expect()

    def test_foreign(self):
        self.f.write()
        self.f.write(status=SUCCEED)
        self.expect('foreign')

    def test_unfinished(self):
        self.f.submit()
        self.f.write()
        self.expect('unfinished')

    def test_prepared_at_the_end(self):
        self.f.submit()
        self.f.write(status=PREPARED)
        self.expect('unfinished')

    def test_wrong_end(self):
        self.f.submit()
        self.f.write()
        self.f.write(status=FAILED)
        self.expect('outcome')

    def test_told_another_end(self):
        self.f.saga()
        self.f.say('A', 'b1', 'g', 'failed')
        self.expect('outcome')

    def test_no_effect(self):
        self.f.submit()
        self.f.write()
        self.f.call(takes_effect=False)
        self.f.write(status=SUCCEED)
        self.expect('effect')

    def test_effect_twice(self):
        self.f.saga()
        self.f.effects.append(('g', 1, 'action'))
        self.expect('effect')

    def test_undone_and_succeeded(self):
        self.f.saga()
        self.f.effects.append(('g', 1, 'compensate'))
        self.expect('effect')

    def test_not_undone(self):
        self.f.submit(fails=(False, True))
        self.f.write()
        self.f.call()
        self.f.write(status=FAILED)
        self.expect('effect')

    def test_effect_of_a_failure(self):
        self.f.submit(fails=(True,))
        self.f.write()
        self.f.call()
        self.f.call(op='compensate')
        self.f.write(status=FAILED)
        self.expect('effect')

    def test_foreign_step(self):
        self.f.saga()
        self.f.effects.append(('g', 2, 'action'))
        self.expect('effect')

    def test_version_left_out(self):
        self.f.submit()
        self.f.write()
        self.f.call()
        self.f.write(status=SUCCEED, skip=1)
        self.expect('version')

    def test_version_twice(self):
        self.f.saga()
        self.f.changes.append(self.f.changes[0]._replace(version0=1, version1=2, at=self.f.now))
        self.expect('version')

    def test_vanished(self):
        self.f.submit(told='U')
        self.f.write()
        self.f.rows.clear()
        self.expect('version')

    def test_other_version_in_the_end(self):
        self.f.saga()
        self.f.rows['g'] = self.f.rows['g']._replace(version=3)
        self.expect('version')

    def test_written_after_the_end(self):
        self.f.saga()
        self.f.write(status=SUCCEED)
        self.expect('final')

    def test_call_before_it_is_stored(self):
        self.f.submit()
        self.f.call()
        self.f.write()
        self.f.write(status=SUCCEED)
        self.expect('call')

    def test_call_after_a_claim(self):
        self.f.submit()
        self.f.write()
        self.f.inherit()
        self.f.write(owner=2)
        self.f.call()
        self.f.write(owner=2, status=SUCCEED)
        self.expect('former')

    def test_call_after_it_has_an_heir(self):
        self.f.submit()
        self.f.write()
        self.f.inherit()
        self.f.call()
        self.f.write(owner=2)
        self.f.write(owner=2, status=SUCCEED)
        self.expect('former')

    def test_call_without_a_lease(self):
        self.f.submit()
        self.f.write()
        self.f.call(asked=0)
        self.f.write(status=SUCCEED)
        self.expect('unasked')

    def stopped_at_its_first_line(self):
        self.f.submit()
        self.f.write()
        asked = self.f.now + 1
        self.f.say('D', 'a1')
        self.f.inherit()
        self.f.write(owner=2)
        return asked

    def test_stopped_at_its_first_line(self):
        asked = self.stopped_at_its_first_line()
        self.f.say('C', 'a1')
        self.f.call(asked=asked)
        self.f.write(owner=2, status=SUCCEED)
        checker, kinds = self.f.check()
        self.assertEqual((kinds, checker.counts['late']), ([], 1))

    def test_begins_late(self):
        asked = self.stopped_at_its_first_line()
        self.f.call(asked=asked)
        self.f.write(owner=2, status=SUCCEED)
        self.expect('late')

    def test_url(self):
        self.f.submit()
        self.f.write()
        self.f.request()
        self.f.write(status=SUCCEED)
        checker, kinds = self.f.check()
        self.assertEqual((kinds, checker.counts['requests']), ([], 1))

    def url_and_claim(self, late):
        """It is sent, and then another claims."""
        self.f.submit()
        self.f.write()
        self.f.request(late=late)
        self.f.inherit()
        self.f.write(owner=2)
        self.f.now += late
        self.f.write(owner=2, status=SUCCEED)

    def test_url_on_the_wire(self):
        self.url_and_claim(5000)
        checker, kinds = self.f.check()
        self.assertEqual((kinds, checker.counts['on_the_wire']), ([], 1))

    def test_url_long_on_the_wire(self):
        self.url_and_claim(2_000_000)
        self.expect('late')

    def test_url_stopped_before_it_is_sent(self):
        self.url_and_claim(2_000_000)
        self.f.lines.append(f'C {self.f.now - 5000} a1')
        self.expect()

    def test_url_after_a_claim(self):
        self.f.submit()
        self.f.write()
        self.f.inherit()
        self.f.write(owner=2)
        self.f.request()
        self.f.write(owner=2, status=SUCCEED)
        self.expect('former')

    def test_url_without_a_lease(self):
        self.f.submit()
        self.f.write()
        self.f.request(direct=True)
        self.f.write(status=SUCCEED)
        self.expect('unasked')

    def test_try_of_the_initiator(self):
        self.f.submit(kind='tcc')
        self.f.write(status=PREPARED)
        self.f.request(op='try', direct=True)
        self.f.request(op='confirm')
        self.f.write(status=SUCCEED)
        self.expect()

    def test_try_of_somebody_else(self):
        self.f.submit(kind='tcc')
        self.f.write(status=PREPARED)
        self.f.request(op='try', direct=True, life='b1')
        self.f.request(op='confirm')
        self.f.write(status=SUCCEED)
        self.expect('unasked')

    def test_the_other_types(self):
        """What their steps may have done in the end, and what not."""
        good = (('tcc', ('try', 'confirm'), SUCCEED), ('tcc', ('try', 'cancel'), FAILED), ('tcc', (), FAILED),
                ('workflow', ('action', 'commit'), SUCCEED), ('xa', ('action',), SUCCEED), ('xa', (), FAILED), ('message', (), FAILED))
        bad = (('tcc', ('try',), SUCCEED), ('tcc', ('try', 'confirm', 'confirm'), SUCCEED), ('tcc', ('try', 'confirm', 'cancel'), SUCCEED),
               ('tcc', ('try',), FAILED), ('tcc', ('cancel',), FAILED), ('tcc', ('try', 'confirm', 'cancel'), FAILED),
               ('workflow', ('action',), SUCCEED), ('workflow', ('action', 'commit', 'rollback'), SUCCEED), ('xa', (), SUCCEED),
               ('xa', ('action',), FAILED), ('message', ('action',), FAILED))
        for kinds, cases in (([], good), (['effect'], bad)):
            for case in cases:
                self.f = Forger()
                self.f.whole(*case)
                with self.subTest(case=case):
                    self.assertEqual(self.f.check()[1], kinds)

    def test_workflow_that_fails_without_a_reason(self):
        self.f.whole('workflow', (), FAILED)
        self.expect('outcome')

    def message(self, local, status):
        self.f.effects += [('g', 0, 'msg')] * local
        self.f.whole('message', ('action',) if status == SUCCEED else (), status)

    def test_message_whose_local_step_is_committed(self):
        self.message(1, SUCCEED)
        self.expect()

    def test_message_whose_local_step_is_not_committed(self):
        self.message(0, SUCCEED)
        self.expect('effect')

    def test_message_that_is_forgotten(self):
        self.message(1, FAILED)
        self.expect('effect')

    def test_message_whose_local_step_is_committed_twice(self):
        self.message(2, SUCCEED)
        self.expect('effect')

    def test_told_that_it_will_be_undone(self):
        self.f.whole('tcc', (), FAILED)
        self.f.say('P', 'a1', 'g', 'a try gave no answer')
        self.expect()

    def test_every_kind_is_tested(self):
        """A new kind of complaint needs a forged history."""
        named = set(re.findall(r"complain\('(\w+)'", (Path(__file__).parent / 'cluster_checker.py').read_text()))
        tests = Path(__file__).read_text()
        self.assertEqual([kind for kind in sorted(named) if f"expect('{kind}'" not in tests], [])
        self.assertGreater(len(named), 8)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
