"""The offline checker of the survival test. It reads what clients and branches wrote down, knows nothing of the
coordinator, and says which promises were broken.

A log is lines `KIND MICROSECONDS LIFE GID ...`, with the time of one monotonic clock:
  I life gid plan                                 a client is about to submit (plan: JSON, see plan.hpp)
  A life gid                                      ... and was told that it is accepted
  R life gid why                                  ... or that it is refused
  B life gid branch op call gid' step' who        a branch was called; gid' and step' stand in its payload
  E life gid branch op call answer                ... and answered success, failure, ongoing, error or lost
  Y life gid succeed|failed|nothing               ... or that it will end like this, or does not exist
  D life gid status                               a reader saw this status in a list of everything
  S life gid branch op status rows                ... and this status of a branch that leaves rows, and how many there are
  W life gid n:life.call,...                      ... and whose answers a workflow got: those of these calls of its steps
  O life gid                                      at the end: there is a row that was committed with this message
  L life gid                                      at the end: the local step of this message was committed
  F life gid status                               a reader saw this final status
  T life                                          such a list was complete
  K life                                          that process was killed
"""
import collections
import json

FINAL = ('succeed', 'failed')
REACHABLE = {'prepared': ('prepared', 'submitted', 'aborting', 'succeed', 'failed'),
             'submitted': ('submitted', 'aborting', 'succeed', 'failed'), 'aborting': ('aborting', 'failed'),
             'succeed': ('succeed',), 'failed': ('failed',)}
PREPARED = ('success', 'lost')  # answers of an xa's action whose work waits for commit or rollback
REQUEST_TIMEOUT = 2_000_000  # of a call by URL, microseconds
INTERVAL = 50_000            # between tries, of sagas that name none
TOLERANCE = 10_000           # the coordinator reads its clock once a turn


class Call:
    def __init__(self, begin, life, branch, op, who, number):
        self.begin, self.life, self.branch, self.op, self.who = begin, life, branch, op, who
        self.name = f'{life}.{number}'
        self.end, self.answer = None, None  # for ever, if its process was killed

    def open_at(self, time):
        """Still running then, as far as the coordinator may think: it may give a URL up at the deadline."""
        if self.end is not None and self.end <= time:
            return False
        return self.who == 'function' or time < self.begin + REQUEST_TIMEOUT

    def may_be_given_up_at(self, time):
        """On a starved machine a call begins long after it was sent, and is answered before its answer is read."""
        return self.who != 'function' and time >= self.begin + REQUEST_TIMEOUT // 2


class Saga:
    def __init__(self):
        self.plan = None
        self.accepted = None  # when first
        self.promised = None  # what the client was told
        self.seen = []        # (time, status)
        self.rows = {}        # (branch, op) -> how many there are at the end
        self.committed = False  # the row that belongs to the message
        self.answers = []     # (branch, life.call) that a workflow says it got
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
        elif kind == 'Y':
            saga.promised = rest
        elif kind == 'S':
            branch, op, status, rows = rest.split(' ')
            saga.rows[int(branch), op] = int(rows)
            if int(rows) != (status == 'succeed'):
                self.complain('effect', gid, f'{branch} {op} is {status}, and there are {rows} rows of it')
        elif kind == 'W':
            saga.answers = [tuple(answer.split(':')) for answer in rest.split(',') if answer != '-']
        elif kind in 'OL':
            if saga.committed:
                self.complain('effect', gid, 'its local row is there twice')
            saga.committed = True
        elif kind == 'F':
            saga.seen.append((time, rest))
        elif kind == 'B':
            branch, op, number, payload_gid, step, who = rest.split(' ')
            call = Call(time, life, int(branch), op, who, number)
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
            self.check_promise(gid, saga, status)
            kind = saga.plan.get('type', 'saga')
            self.counts[kind] += 1
            if kind == 'saga':
                self.check_order(gid, saga)
            if kind == 'saga' and status == 'succeed':
                self.check_succeed(gid, saga)
            elif kind == 'saga' and status == 'failed':
                self.check_failed(gid, saga)
            elif kind in ('message', 'outbox'):
                self.check_message(gid, saga, status, kind)
            elif kind == 'rows':
                self.check_rows(gid, saga, status)
            elif kind == 'xa' and status:
                self.counts[f'xa_{status}'] += 1
                self.check_xa(gid, saga, status)
            elif kind == 'tcc' and status:
                self.check_tcc(gid, saga, status)
            elif kind == 'workflow' and status:
                self.check_workflow(gid, saga, status)
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
            # A branch of an xa registers itself, so it is asked first and refused then: it must not say that it did it.
            late = [call for call in calls if call.begin > final[0]]
            if saga.plan.get('type') == 'xa' and op == 'action':
                late = [call for call in late if call.answer in PREPARED]
            if late:
                self.complain('called_after_final', gid, f'{branch:02} {op} was called after a reader saw {final[1]}')
        # Others may fail for reasons of their own: their initiator died.
        kind = saga.plan.get('type', 'saga')
        expected = 'succeed' if saga.plan['succeeds'] else 'failed'
        may = {'message': FINAL, 'outbox': ('succeed',), 'tcc': (expected, 'failed'),
               'xa': (expected, 'failed')}.get(kind, (expected,))
        if final[1] not in may:
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
            if any((call.who == 'url') != step['url'] for call in calls) or (op == 'compensate' and not step['undo']) \
                    or step.get('rows'):
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
                elif one.may_be_given_up_at(two.begin):
                    continue  # its answer came, but perhaps too late for the coordinator
                elif one.answer == 'success':
                    self.complain('repeated', gid, f'{name} was called again after its success, in the same life')
                elif one.answer == 'failure' and op == 'action':
                    self.complain('repeated', gid, f'{name} was called again after its FAILURE, in the same life')
                elif one.answer in ('ongoing', 'error') and two.begin - one.end < interval - TOLERANCE:
                    if saga.plan.get('type') == 'workflow':
                        continue  # its initiator runs it at once, whatever the coordinator waits for
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

    # What is no saga of branches outside: everything one after the other

    def succeeded(self, saga, branch, op, after=0, before=None):
        """A call of it ended with success, which began after and ended before."""
        return any(call.answer == 'success' and call.begin > after and (before is None or call.end <= before)
                   for call in saga.calls.get((branch, op), []))

    def check_promise(self, gid, saga, status):
        promised = {'nothing': None}.get(saga.promised, saga.promised)
        if saga.promised and status != promised:
            self.complain('promise', gid, f'its client was told {saga.promised}, and it is {status}')

    def in_order(self, kind, gid, saga, op, branches):
        """Each only after the success of the one before, and that not again."""
        for one, two in zip(branches, branches[1:]):
            first, second = saga.calls.get((one, op), []), saga.calls.get((two, op), [])
            if second and not self.succeeded(saga, one, op, before=second[0].begin):
                self.complain(kind, gid, f'{two:02} {op} was called before the success of {one:02} {op}')
            if second and any(call.begin > second[0].begin for call in first):
                self.complain(kind, gid, f'{one:02} {op} was called again after {two:02} {op} had begun')

    def check_message(self, gid, saga, status, kind):
        """Delivered if and only if the local row was committed."""
        branches = range(1, len(saga.plan['steps']) + 1)
        exists = bool(saga.seen) if kind == 'outbox' else status == 'succeed'
        if saga.committed and not exists:
            self.complain('message', gid, f'its local row was committed, and it is {status}')
        if not saga.committed and (exists or saga.calls):
            self.complain('message', gid, f'its local row was not committed, and it is {status}, with {len(saga.calls)} calls')
        for branch in branches:
            if status == 'succeed' and not self.succeeded(saga, branch, 'action'):
                self.complain('message', gid, f'{branch:02} was not delivered')
        self.in_order('message', gid, saga, 'action', list(branches))

    def check_rows(self, gid, saga, status):
        """The rows of each branch: one, or none."""
        victim = next((i for i, step in enumerate(saga.plan['steps']) if step['action'] == 'fail'), None)
        for i, step in enumerate(saga.plan['steps']):
            branch, begun = i + 1, victim is None or i <= victim
            if step['rows'] and status:
                # What was refused left no row, and is compensated too, unless there can be nothing to undo.
                want = (int(victim is None or i < victim), int(victim is not None and i < victim))
                got = tuple(saga.rows.get((branch, op)) for op in ('action', 'compensate'))
                if got != want and not (i == victim and got == (0, 1)):
                    self.complain('effect', gid, f'it is {status}, and the rows of {branch:02} are {got}, not {want}')
            elif status == 'succeed' and not self.succeeded(saga, branch, 'action'):
                self.complain('effect', gid, f'it succeeded without the effect of {branch:02}')
            elif status == 'failed' and begun and not self.succeeded(saga, branch, 'compensate'):
                self.complain('effect', gid, f'it failed, and {branch:02} was not compensated')

    def check_tcc(self, gid, saga, status):
        """All are confirmed, or all cancelled, the last first."""
        does, other = ('confirm', 'cancel') if status == 'succeed' else ('cancel', 'confirm')
        tried = [branch for branch in range(1, len(saga.plan['steps']) + 1) if (branch, 'try') in saga.calls]
        if any(op == other for _, op in saga.calls):
            self.complain('tcc', gid, f'it is {status}, and there are calls of {other}')
        for branch in tried if status == 'failed' else range(1, len(saga.plan['steps']) + 1):
            if status == 'succeed' and not self.succeeded(saga, branch, 'try'):
                self.complain('tcc', gid, f'it succeeded without the try of {branch:02}')
            if not self.succeeded(saga, branch, does):
                self.complain('tcc', gid, f'it is {status}, and {branch:02} had no {does}')
        done = sorted((branch for branch, op in saga.calls if op == does), reverse=True)
        self.in_order('tcc', gid, saga, does, done)

    def check_xa(self, gid, saga, status):
        """What was prepared is all committed, or all rolled back, in the order of its registration."""
        does, other = ('commit', 'rollback') if status == 'succeed' else ('rollback', 'commit')
        if any(op == other for _, op in saga.calls):
            self.complain('xa', gid, f'it is {status}, and there are calls of {other}')
        for branch in range(1, len(saga.plan['steps']) + 1):
            ended = [call.end for call in saga.calls.get((branch, 'action'), []) if call.answer in PREPARED]
            if status == 'succeed' and not self.succeeded(saga, branch, 'action'):
                self.complain('xa', gid, f'it succeeded without the work of {branch:02}')
            if ended and not self.succeeded(saga, branch, does, after=max(ended)):
                self.complain('xa', gid, f'it is {status}, and {branch:02} stays prepared: it had no {does}')
        self.in_order('xa', gid, saga, does, sorted(branch for branch, op in saga.calls if op == does))

    def check_workflow(self, gid, saga, status):
        """A recorded step is not done again; the callbacks come for what was done, the last first."""
        steps = list(range(1, len(saga.plan['steps']) + 1))
        self.in_order('workflow', gid, saga, 'action', steps)
        did = [branch for branch in steps if self.succeeded(saga, branch, 'action')]
        does, other = ('commit', 'rollback') if status == 'succeed' else ('rollback', 'commit')
        if status == 'succeed' and did != steps:
            self.complain('workflow', gid, f'it succeeded, and did only {did}')
        if any(op == other for _, op in saga.calls):
            self.complain('workflow', gid, f'it is {status}, and there are calls of {other}')
        end = max((call.begin for (_, op), calls in saga.calls.items() if op == 'action' for call in calls), default=0)
        for branch in did:
            if not self.succeeded(saga, branch, does, after=end):
                self.complain('workflow', gid, f'it is {status}, and {branch:02} had no {does} after its last step')
        called = sorted((branch for branch, op in saga.calls if op == does), reverse=True)
        self.in_order('workflow', gid, saga, does, called)
        if set(called) - set(did):
            self.complain('workflow', gid, f'{does} was called for {called}, and only {did} were done')
        for branch, name in saga.answers:
            # It was recorded, so no call after the one whose answer stands in the result.
            calls = saga.calls.get((int(branch), 'action'), [])
            if not calls or calls[-1].name != name or calls[-1].answer != 'success':
                self.complain('workflow', gid, f'its result has the answer of call {name} of {branch}, which was not the last')
