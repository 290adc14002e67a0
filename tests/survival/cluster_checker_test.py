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

    def submit(self, gid='g', life='a1', fails=(False,), told='A'):
        self.say('I', life, gid, json.dumps({'fails': list(fails), 'succeeds': not any(fails)}))
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
        self.assertEqual([(time, life) for time, _, life in checker.takeovers], [(3000, 'a1')])

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

    def test_every_kind_is_tested(self):
        """A new kind of complaint needs a forged history."""
        named = set(re.findall(r"complain\('(\w+)'", (Path(__file__).parent / 'cluster_checker.py').read_text()))
        tests = Path(__file__).read_text()
        self.assertEqual([kind for kind in sorted(named) if f"expect('{kind}'" not in tests], [])
        self.assertGreater(len(named), 8)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
