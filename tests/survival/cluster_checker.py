"""What cluster_test.py checks in the end, from what the processes and the database wrote down. It knows nothing of how
coordinators share a store.

Log lines are `KIND MICROSECONDS LIFE ...`, by a clock of this machine that never jumps:
  M life member                 the process is this member now
  I life gid plan               it is about to submit this; plan: JSON, its type, which steps fail and whether it succeeds
  A life gid status             it was told that it is stored, or will end, in this status
  R life gid why                it was told that it is not stored
  U life gid why                it was told that nobody knows; a saga is submitted again
  P life gid why                it is stored, and its initiator got an error, so it will be undone if nobody has submitted it
  B life gid step op member asked   a function is called; when its thread asked last whether that is allowed, or 0
  W life name asked             the request with this name might be sent; when that was asked
  V life gid step op name       it arrives at the service; name -: of an initiator, which asks nobody
and the driver's own: K life (killed), D life (cut off or stopped: from now on it cannot beat), C life (goes on after a stop).
"""
import collections
import json

PREPARED, SUBMITTED, ABORTING, SUCCEED, FAILED = range(1, 6)
FINAL = {SUCCEED: 'succeed', FAILED: 'failed'}

ON_THE_WIRE = 1_000_000  # us from when a request might be sent until it arrives; no process of this machine takes longer unless it is stopped

# What an initiator calls itself, which no lease covers. An initiator of a message may also ask its own question.
DIRECT = {('tcc', 'try'), ('xa', 'action'), ('workflow', 'action'), ('workflow', 'commit'), ('workflow', 'rollback'), ('message', 'msg')}

# How often each op of a step takes effect: if it ends well; and what is undone by what if it does not, and what nothing undoes.
Effect = collections.namedtuple('Effect', 'good undone by never')
EFFECTS = {'saga': Effect({'action': 1}, 'action', 'compensate', ()),
           'message': Effect({'action': 1}, None, None, ('action',)),
           'tcc': Effect({'try': 1, 'confirm': 1}, 'try', 'cancel', ('confirm',)),
           'xa': Effect({'action': 1}, None, None, ('action',)),
           'workflow': Effect({'action': 1, 'commit': 1}, 'action', 'rollback', ('commit',))}

# A change of a row of dtm_trans, by a trigger. Version 0: there is no row.
Change = collections.namedtuple('Change', 'id gid version0 version1 owner0 owner1 status0 status1 at')
# A change of a row of dtm_node. Heir None: there is no row.
Member = collections.namedtuple('Member', 'id heir0 heir1 at')
Row = collections.namedtuple('Row', 'id gid version status owner ended')
Call = collections.namedtuple('Call', 'at life gid step op member asked')  # member None: it came by URL
# How long after a death the first call was: when others inherited, when they claimed, and the call itself; microseconds.
Takeover = collections.namedtuple('Takeover', 'time at life inherited claimed')


class ClusterChecker:
    def __init__(self):
        self.plans, self.submitters, self.told = {}, collections.defaultdict(set), collections.defaultdict(list)
        self.members, self.calls, self.deaths, self.continued, self.sent = {}, [], [], [], {}
        self.changes, self.rows, self.inherited = collections.defaultdict(list), {}, {}
        self.effects = collections.defaultdict(collections.Counter)
        self.violations, self.counts, self.takeovers = [], collections.Counter(), []

    def read_log(self, lines):
        for line in lines:
            kind, at, life, *rest = line.split(' ', 4)
            at = int(at)
            if kind == 'M':
                self.members[int(rest[0])] = life
            elif kind == 'I':
                gid, plan = rest
                self.plans[gid] = json.loads(plan)
                self.submitters[gid].add(life)
            elif kind in 'ARU':
                self.told[rest[0]].append((at, kind, life, rest[1]))
                self.counts[{'A': 'accepted', 'R': 'refused', 'U': 'in_doubt'}[kind]] += 1
            elif kind == 'B':
                step, op, member, asked = rest[1].split(' ')
                self.calls.append(Call(at, life, rest[0], int(step), op, int(member), int(asked)))
                self.members.setdefault(int(member), life)
            elif kind == 'W':
                self.sent[life, rest[0]] = int(rest[1])
            elif kind == 'V':
                step, op, name = rest[1].split(' ')
                self.calls.append(Call(at, life, rest[0], int(step), op, None, self.sent.get((life, name), 0)))
            elif kind in 'KD':
                self.deaths.append((at, life))
            elif kind == 'C':
                self.continued.append((at, life))

    def read_database(self, rows, changes, members, effects):
        self.rows = {row.gid: row for row in rows}
        for change in changes:
            self.changes[change.gid].append(change)
        for member in members:
            if member.heir1 is not None and member.heir1 > 0:
                self.inherited[member.id] = min(member.at, self.inherited.get(member.id, member.at))
        for gid, step, op in effects:  # of each row
            self.effects[gid][step, op] += 1

    def complain(self, kind, gid, text):
        self.violations.append((kind, gid, text))

    def check(self):
        for gid in sorted(set(self.plans) | set(self.rows)):
            self.check_outcome(gid)
        for gid, changes in self.changes.items():
            self.check_history(gid, changes)
        self.check_callers()
        self.check_takeovers()
        return self.violations

    def check_outcome(self, gid):
        row, plan = self.rows.get(gid), self.plans.get(gid)
        told = self.told[gid]
        accepted = [entry for entry in told if entry[1] == 'A']
        if plan is None:
            return self.complain('foreign', gid, 'it is stored, and nobody submitted it')
        if row is None:
            if accepted:
                self.complain('lost', gid, 'it was accepted, and is not stored')
            if gid in self.effects:
                self.complain('lost', gid, 'it has effects, and is not stored')
            return None
        if len(self.submitters[gid]) == 1 and told and told[-1][1] == 'R':
            self.complain('refused', gid, f'its submitter was told that it is not stored, and it is: {told[-1][3]}')
        if not row.ended or row.status not in FINAL:
            return self.complain('unfinished', gid, f'it has status {row.status} in the end')
        self.counts[FINAL[row.status]] += 1
        self.counts[plan['type'], FINAL[row.status]] += 1
        # Those that are prepared fail by their timeout if their initiator is away.
        if (row.status == SUCCEED) != plan['succeeds'] and (row.status == SUCCEED or plan['type'] in ('saga', 'workflow')):
            self.complain('outcome', gid, f'it is {FINAL[row.status]}, and should not be')
        for entry in accepted:
            if entry[3] in FINAL.values() and entry[3] != FINAL[row.status]:
                self.complain('outcome', gid, f'{entry[2]} was told that it is {entry[3]}, and it is {FINAL[row.status]}')
        return self.check_effects(gid, row, plan)

    def check_effects(self, gid, row, plan):
        """Those of each step, and the local step of a message, which decides."""
        effects, kind = self.effects[gid], EFFECTS[plan['type']]
        for step, fails in enumerate(plan['fails'], 1):
            counts = collections.Counter({op: count for (of, op), count in effects.items() if of == step})
            if row.status == SUCCEED:
                good = counts == collections.Counter(kind.good) and not fails
            else:
                done = counts[kind.undone]
                good = done == counts[kind.by] and done <= 1 and not any(counts[op] for op in kind.never) and not (fails and done)
            if not good:
                self.complain('effect', gid, f'step {step} of a {plan["type"]} that is {FINAL[row.status]} took effect: {dict(counts)}')
        decides = plan['type'] == 'message'
        if effects[0, 'msg'] != (decides and row.status == SUCCEED):
            self.complain('effect', gid, f'it is {FINAL[row.status]}, and its local step was committed {effects[0, "msg"]} times')
        if any(not 1 <= step <= len(plan['fails']) and (step, op) != (0, 'msg') for step, op in effects):
            self.complain('effect', gid, 'a step that it does not have took effect')

    def check_history(self, gid, changes):
        """One history: each version once, and the end is the end."""
        changes.sort(key=lambda change: change.version1)
        version = 0
        for change in changes:
            self.counts['changes'] += 1
            if (change.version0, change.version1) != (version, version + 1):
                self.complain('version', gid, f'from version {change.version0} to {change.version1} after {version}')
            if change.status0 in FINAL:
                self.complain('final', gid, f'it was {FINAL[change.status0]}, and was written again')
            version = change.version1
        row = self.rows.get(gid)
        if row is None:
            self.complain('version', gid, 'it was stored, and is gone')
        elif row.version != version:
            self.complain('version', gid, f'it has version {row.version}, and its history ends with {version}')

    def check_callers(self):
        """Only who owns it calls, until others inherit from it. A call counts from when its thread was told that it may begin: no
        lease covers a thread that is stopped between that and its first line, or a request that is on the wire."""
        for gid, calls in self.calls_of().items():
            changes = sorted(self.changes.get(gid, []), key=lambda change: change.at)
            for call in calls:
                self.counts['calls'] += 1
                if call.member is None:
                    self.counts['requests'] += 1
                if not call.asked:
                    if not self.is_direct(call):
                        self.complain('unasked', gid, f'{call.op} of step {call.step} by {call.life} looked at no lease')
                    continue
                problem = self.problem_of(call, changes, call.asked)
                if problem:
                    self.complain(*problem)
                elif self.problem_of(call, changes, call.at):
                    self.check_late(call)

    def is_direct(self, call):
        """The initiator's own. A workflow runs wherever it is resumed; everything else where it was begun."""
        kind = self.plans[call.gid]['type'] if call.gid in self.plans else None
        return (kind, call.op) in DIRECT and (kind == 'workflow' or call.life in self.submitters[call.gid])

    def check_late(self, call):
        """It was allowed, and began when another owned it: it was on the wire, or its process was stopped in between."""
        if any(life == call.life and call.asked <= at <= call.at for at, life in self.continued):
            self.counts['late'] += 1
        elif call.member is None and call.at - call.asked <= ON_THE_WIRE:
            self.counts['on_the_wire'] += 1
        else:
            self.complain('late', call.gid, f'{call.op} of step {call.step} by {call.life} began {call.at - call.asked} us after it was '
                                            'allowed, when another owned it, and nobody had stopped it')

    def problem_of(self, call, changes, at):
        name = f'{call.op} of step {call.step} by {call.life}'
        before = [change for change in changes if change.at <= at]
        if not before:
            return 'call', call.gid, f'{name} before it was stored'
        owner = before[-1].owner1
        if self.members.get(owner) != call.life:
            return 'former', call.gid, f'{name}, {at - before[-1].at} us after {self.members.get(owner)} owned it'
        if self.inherited.get(owner, at) < at:
            return 'former', call.gid, f'{name}, {at - self.inherited[owner]} us after it had an heir'
        return None

    def calls_of(self):
        calls = collections.defaultdict(list)
        for call in sorted(self.calls):
            calls[call.gid].append(call)
        return calls

    def check_takeovers(self):
        """How long after a death the first of its transactions went on elsewhere."""
        first = {}  # of each claim
        calls = self.calls_of()
        for gid, changes in self.changes.items():
            for change in changes:
                before, after = self.members.get(change.owner0), self.members.get(change.owner1)
                if not change.version0 or change.owner0 == change.owner1:
                    continue
                self.counts['claimed'] += 1
                resumed = [call.at for call in calls.get(gid, []) if call.at >= change.at and call.life == after and call.asked]
                heir = self.inherited.get(change.owner0)  # else it lives, and gave up one that is prepared
                if resumed and heir is not None and heir <= change.at:
                    first.setdefault(before, []).append((min(resumed), change.at, heir))
        deaths = sorted(self.deaths)
        for at, life in deaths:
            later = [death for death, who in deaths if who == life and death > at]
            end = min(later, default=float('inf'))
            resumed = [(call, claim, heir) for call, claim, heir in first.get(life, []) if at <= claim < end]
            if resumed:
                call, claim, heir = min(resumed)
                self.takeovers.append(Takeover(call - at, at, life, heir - at, claim - at))
