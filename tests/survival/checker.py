"""The offline checker of the survival test. It reads what clients and branches wrote down, knows nothing of the
coordinator, and says which promises were broken.

A log is lines `KIND MICROSECONDS LIFE GID ...`, with the time of one monotonic clock:
  I life gid plan                                 a client is about to submit (plan: JSON, see plan.hpp)
  A life gid                                      ... and was told that it is accepted
  R life gid why                                  ... or that it is refused
  B life gid branch op call gid' step' who        a branch was called; gid' and step' stand in its payload
  E life gid branch op call answer                ... and answered success, failure, ongoing, error or lost
  D life gid status                               a reader saw this status in a list of everything
  F life gid status                               a reader saw this final status
  T life                                          such a list was complete
  K life                                          that process was killed
"""
import collections
import json

FINAL = ('succeed', 'failed')
REACHABLE = {'submitted': ('submitted', 'aborting', 'succeed', 'failed'), 'aborting': ('aborting', 'failed'),
             'succeed': ('succeed',), 'failed': ('failed',)}
REQUEST_TIMEOUT = 2_000_000  # of a call by URL, microseconds
INTERVAL = 50_000            # between tries, of sagas that name none
TOLERANCE = 10_000           # the coordinator reads its clock once a turn


class Call:
    def __init__(self, begin, life, branch, op, who):
        self.begin, self.life, self.branch, self.op, self.who = begin, life, branch, op, who
        self.end, self.answer = None, None  # for ever, if its process was killed

    def open_at(self, time):
        """Still running then, as far as the coordinator may think: it may give a URL up at the deadline."""
        if self.end is not None and self.end <= time:
            return False
        return self.who == 'function' or time < self.begin + REQUEST_TIMEOUT


class Saga:
    def __init__(self):
        self.plan = None
        self.accepted = None  # when first
        self.seen = []        # (time, status)
        self.calls = collections.defaultdict(list)  # (branch, op) -> calls in order


class Checker:
    def __init__(self):
        self.sagas = collections.defaultdict(Saga)
        self.violations = []  # (kind, gid, text)
        self.open = {}
        self.lists = []       # (time it began, gids)
        self.life_end = {}
        self.counts = collections.Counter()

    def complain(self, kind, gid, text):
        self.violations.append((kind, gid, text))

    # Reading

    def read(self, lines):
        """Lines of all logs, in any order."""
        records = sorted(((line.split(' ', 2)) for line in lines if line.strip()), key=lambda r: int(r[1]))
        listed, began = set(), None
        for kind, time, rest in records:
            time = int(time)
            if kind == 'K':
                self.life_end[rest] = time
                self.counts['kills'] += 1
            elif kind == 'T':
                self.lists.append((time if began is None else began, listed))
                listed, began = set(), None
            elif kind == 'D':
                _, gid, status = rest.split(' ')
                began = time if began is None else began
                listed.add(gid)
                self.sagas[gid].seen.append((time, status))
            else:
                self.event(kind, time, rest)

    def event(self, kind, time, rest):
        life, gid, rest = (rest + ' ').split(' ', 2)
        rest = rest.rstrip()
        saga = self.sagas[gid]
        if kind == 'I':
            saga.plan = json.loads(rest)
        elif kind == 'A':
            if saga.accepted is None:
                saga.accepted = time
                self.counts['accepted'] += 1
        elif kind == 'R':
            self.complain('refused', gid, rest)
        elif kind == 'F':
            saga.seen.append((time, rest))
        elif kind == 'B':
            branch, op, number, payload_gid, step, who = rest.split(' ')
            call = Call(time, life, int(branch), op, who)
            if payload_gid != gid or int(step) != int(branch):
                self.complain('foreign', gid, f'{branch} {op} was called with the payload of {payload_gid} step {step}')
            saga.calls[call.branch, op].append(call)
            self.open[life, who == 'function', number] = call
            self.counts['calls'] += 1
        elif kind == 'E':
            branch, op, number, answer = rest.split(' ')
            # Functions and URLs count their calls by themselves.
            found = [key for key in ((life, True, number), (life, False, number)) if key in self.open
                     and (self.open[key].branch, self.open[key].op) == (int(branch), op)
                     and self.open[key] in saga.calls[int(branch), op]]
            if not found:
                self.complain('unmatched', gid, f'an answer of {branch} {op} without a call')
                return
            call = self.open.pop(found[0])
            call.end, call.answer = time, answer
        else:
            self.complain('unreadable', gid, f'a line of kind {kind}')

    # Judging

    def check(self):
        self.check_lists()
        for gid, saga in self.sagas.items():
            if saga.plan is None:
                self.complain('foreign', gid, 'nobody has ever submitted this gid')
                continue
            status = self.check_history(gid, saga)
            self.check_calls(gid, saga)
            self.check_order(gid, saga)
            if status == 'succeed':
                self.check_succeed(gid, saga)
            elif status == 'failed':
                self.check_failed(gid, saga)
        return self.violations

    def check_lists(self):
        if not self.lists:
            self.complain('unreadable', '-', 'there is no list of everything')
            return
        for time, gids in self.lists:
            for gid, saga in self.sagas.items():
                known = saga.accepted if saga.accepted is not None and saga.accepted < time else None
                if known is not None and gid not in gids:
                    self.complain('lost', gid, 'it was accepted, and is not in a later list of everything')
        last = self.lists[-1][0]
        for gid, saga in self.sagas.items():
            if saga.seen and saga.seen[-1][0] >= last and saga.seen[-1][1] not in FINAL:
                self.complain('unfinished', gid, f'at the end it is {saga.seen[-1][1]}')

    def check_history(self, gid, saga):
        for (_, before), (_, after) in zip(saga.seen, saga.seen[1:]):
            if after not in REACHABLE.get(before, ()):
                self.complain('final_changed' if before in FINAL else 'backwards', gid, f'{before} became {after}')
        final = next(((time, status) for time, status in saga.seen if status in FINAL), None)
        if final is None:
            return None
        for (branch, op), calls in saga.calls.items():
            if any(call.begin > final[0] for call in calls):
                self.complain('called_after_final', gid, f'{branch:02} {op} was called after a reader saw {final[1]}')
        expected = 'succeed' if saga.plan['succeeds'] else 'failed'
        if final[1] != expected:
            self.complain('outcome', gid, f'it is {final[1]}, and its branches say it has to be {expected}')
        self.counts[final[1]] += 1
        return final[1]

    def check_calls(self, gid, saga):
        """One branch: one call at a time, no more after a definite answer, no retry too early."""
        interval = saga.plan.get('interval_s', 0) * 1_000_000 or INTERVAL
        for (branch, op), calls in saga.calls.items():
            name = f'{branch:02} {op}'
            self.counts['repeats'] += len(calls) - 1
            self.counts['repeats_after_success'] += max(0, sum(call.answer == 'success' for call in calls) - 1)
            if branch < 1 or branch > len(saga.plan['steps']):
                self.complain('foreign', gid, f'{name} was called, and there is no such step')
                continue
            step = saga.plan['steps'][branch - 1]
            if any((call.who == 'url') != step['url'] for call in calls) or (op == 'compensate' and not step['undo']):
                self.complain('foreign', gid, f'{name} was called, and is no branch of it')
            for one, two in zip(calls, calls[1:]):
                if one.life != two.life:
                    if one.answer is None and one.who != 'function' and two.begin < one.begin:
                        self.complain('overlap', gid, f'{name}: out of order')
                    continue
                if one.open_at(two.begin):
                    self.complain('overlap', gid, f'{name} was called while a call of it was running')
                elif one.end is None:
                    continue  # a URL that was given up at its deadline
                elif one.answer == 'success' and one.end < one.begin + REQUEST_TIMEOUT:
                    self.complain('repeated', gid, f'{name} was called again after its success, in the same life')
                elif one.answer == 'failure' and op == 'action':
                    self.complain('repeated', gid, f'{name} was called again after its FAILURE, in the same life')
                elif one.answer in ('ongoing', 'error') and two.begin - one.end < interval - TOLERANCE:
                    self.complain('early', gid, f'{name} was retried after {two.begin - one.end} microseconds')

    def before(self, saga):
        """(step, the step that has to succeed before it)"""
        if not saga.plan['concurrent']:
            return [(step, step - 1) for step in range(2, len(saga.plan['steps']) + 1)]
        return saga.plan['orders']

    def check_order(self, gid, saga):
        for later, earlier in self.before(saga):
            actions, first = saga.calls.get((later, 'action'), []), saga.calls.get((earlier, 'action'), [])
            if actions:
                begin = actions[0].begin
                if not any(call.answer == 'success' and call.end <= begin for call in first):
                    self.complain('order', gid, f'{later:02} action was called before the success of {earlier:02}')
                if any(call.begin > begin for call in first):
                    self.complain('order', gid, f'{earlier:02} action was called again after {later:02} had begun')
            undo = saga.calls.get((later, 'compensate'), [])
            first_undo = saga.calls.get((earlier, 'compensate'), [])
            if actions and first_undo and saga.plan['steps'][later - 1]['undo']:
                begin = first_undo[0].begin
                if not any(call.answer == 'success' and call.end <= begin for call in undo):
                    self.complain('undo_order', gid,
                                  f'{earlier:02} was compensated before the compensation of {later:02} had succeeded')
            if undo and first_undo and any(call.begin > first_undo[0].begin for call in undo):
                self.complain('undo_order', gid, f'{later:02} was compensated again after {earlier:02}')
        # Sequential: strictly in reverse, also where a step between has nothing to undo.
        if not saga.plan['concurrent']:
            undos = sorted(((branch, calls) for (branch, op), calls in saga.calls.items() if op == 'compensate'),
                           key=lambda entry: -entry[0])
            for (higher, one), (lower, two) in zip(undos, undos[1:]):
                if not any(call.answer == 'success' and call.end <= two[0].begin for call in one):
                    self.complain('undo_order', gid, f'{lower:02} was compensated before {higher:02}')

    def check_succeed(self, gid, saga):
        for branch in range(1, len(saga.plan['steps']) + 1):
            if not any(call.answer == 'success' for call in saga.calls.get((branch, 'action'), [])):
                self.complain('half_done', gid, f'it succeeded without the effect of {branch:02}')
        for (branch, op) in saga.calls:
            if op == 'compensate':
                self.complain('half_done', gid, f'it succeeded, and {branch:02} was compensated')

    def check_failed(self, gid, saga):
        undos = [call for (_, op), calls in saga.calls.items() if op == 'compensate' for call in calls]
        first_undo = min((call.begin for call in undos), default=None)
        for (branch, op), calls in saga.calls.items():
            if op != 'action' or branch > len(saga.plan['steps']):
                continue
            name = f'{branch:02}'
            if first_undo is not None and any(call.begin > first_undo for call in calls):
                self.complain('action_after_undo', gid, f'{name} action was called after the first compensation')
            if not saga.plan['steps'][branch - 1]['undo']:
                continue
            undo = saga.calls.get((branch, 'compensate'), [])
            last = calls[-1].begin
            if not any(call.answer == 'success' and call.begin > last for call in undo):
                self.complain('half_done', gid, f'{name} may have run and was not compensated after it')
            for action in calls:
                # A function dies with its process; a URL may go on without us.
                if any(action.open_at(call.begin) and not (action.who == 'function' and call.life != action.life)
                       for call in undo):
                    self.complain('undo_too_soon', gid, f'{name} was compensated while its action was running')
