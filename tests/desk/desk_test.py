#!/usr/bin/env python3
"""The desk in a real browser, at a real dtm-server: each page, each action, and what may go wrong meanwhile. With several servers if
there is a PostgreSQL.

Usage: [tools/with_postgres.sh] desk_test.py PATH_OF_dtm-server [TEST...]
"""
import http.client
import http.server
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

from webdriver import Browser

PROGRAM = sys.argv.pop(1) if len(sys.argv) > 1 else sys.exit(__doc__)
MARKUP = '"><img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'


class Branches(http.server.BaseHTTPRequestHandler):
    """Branches that answer what the path says."""
    protocol_version = 'HTTP/1.1'
    REPLIES = {'/ok': (200, '{"dtm_result":"SUCCESS"}'), '/fail': (409, '{"dtm_result":"FAILURE","message":"no money"}'),
               '/wait': (425, '{"dtm_result":"ONGOING"}')}

    def do_POST(self):
        self.rfile.read(int(self.headers.get('Content-Length') or 0))
        status, text = self.REPLIES.get(self.path.split('?')[0], (500, f'boom {MARKUP}'))
        self.send_response(status)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST

    def log_message(self, *_):
        pass


class Server:
    """dtm-server, and a client."""

    def __init__(self, folder, port=0, token='', db='desk.db', store='', **environment):
        self.token = token
        environment = {'PATH': os.environ['PATH'], 'RETRY_INTERVAL': '3600', 'DTM_TOKEN': token, **environment}
        where = ['--store', store] if store else ['--db', str(folder / db)]
        self.process = subprocess.Popen([PROGRAM, '--listen', f'127.0.0.1:{port}', *where], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env=environment)
        line = self.process.stdout.readline()
        self.port = int(re.search(r'http://127\.0\.0\.1:(\d+)/', line)[1])
        self.desk = f'http://127.0.0.1:{self.port}/desk'

    def ask(self, path, body=None, **query):
        headers = {'Authorization': f'Bearer {self.token}'} if self.token else {}
        target = f'/api/dtmsvr/{path}' + ('?' + urllib.parse.urlencode(query) if query else '')
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=20)
        try:
            connection.request('POST' if body is not None else 'GET', target, body and json.dumps(body), headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def submit(self, gid, *actions, payload='{"amount":30}', kind='saga', **more):
        steps = [{'action': action, 'compensate': compensate} for action, compensate in actions]
        status, told = self.ask('submit', {'gid': gid, 'trans_type': kind, 'steps': steps, 'payloads': [payload] * len(steps), **more})
        assert status == 200, told

    def status(self, gid):
        return self.ask('query', gid=gid)[1]['transaction']['status']

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(timeout=20)
        self.process.stdout.close()

    def cpu_seconds(self):
        fields = pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(.02)


class DeskTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = pathlib.Path(cls.temporary.name)
        branches = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Branches)
        cls.addClassCleanup(branches.server_close)
        threading.Thread(target=branches.serve_forever, daemon=True).start()
        cls.addClassCleanup(branches.shutdown)
        cls.branch = f'http://127.0.0.1:{branches.server_port}'
        cls.server = Server(cls.folder)
        cls.addClassCleanup(lambda: cls.server.stop())
        cls.browser = Browser()
        cls.addClassCleanup(lambda: cls.browser.close())
        cls.messages, cls.asked = [], []

    def setUp(self):
        self.browser.size(1280, 900)
        self.browser.look()

    def tearDown(self):
        """No script of a transaction ran, nothing was refused by the page's policy, and nobody else was asked."""
        self.assertIsNone(self.browser.run('return window.hacked ?? null'))
        for message in self.browser.log():
            self.assertNotRegex(message, 'Content Security Policy|Uncaught')
        for url in self.browser.requested():
            self.assertRegex(url, r'^(http://127\.0\.0\.1:\d+/(desk|api)|data:|about:|chrome:)')

    def go(self, place='', server=None):
        self.browser.open('about:blank')
        self.browser.open((server or self.server).desk + (f'#/{place}' if place else ''))

    def show(self, gid, server=None):
        self.go('transaction?' + urllib.parse.urlencode({'gid': gid}), server)
        self.browser.wait('document.querySelector("#gid")?.innerText === arguments[0]', gid)

    def stuck_saga(self, gid, payload='{"amount":30}', path='/error', server=None, **more):
        """It waits for an hour after an error."""
        server = server or self.server
        server.submit(gid, (self.branch + '/ok', self.branch + '/ok'), (self.branch + path, self.branch + '/ok'), payload=payload, **more)
        until(lambda: 'last_error' in server.ask('query', gid=gid)[1]['transaction'])

    def fill(self, why='it was asked for', who='Ann'):
        browser = self.browser
        browser.wait('document.querySelector("#dialog[open] input[name=why]")')
        browser.run('for (const name of ["who", "why"]) document.querySelector(`#dialog input[name=${name}]`).value = ""; return 1')
        browser.type('#dialog input[name=who]', who)
        browser.type('#dialog input[name=why]', why)

    def decisions(self):
        return self.browser.text('[data-key=decisions]')

    def test_overview(self):
        self.stuck_saga('overview-1')
        self.go()
        browser = self.browser
        browser.wait_text('unfinished', '.tile')
        browser.wait('document.querySelectorAll("[data-chart] .line").length >= 4')  # two replies
        browser.wait('document.querySelector(".dot.good")')
        browser.click('a.tile')
        browser.wait_text('overview-1', 'main')
        self.assertIn('unfinished=1', browser.run('location.hash'))

    def test_a_list_of_ten_thousand(self):
        """A page at a time, by the filters of the form, and with the keys."""
        server, browser = self.server, self.browser

        def submit(numbers):
            connection = http.client.HTTPConnection('127.0.0.1', server.port)
            for number in numbers:
                connection.request('POST', '/api/dtmsvr/submit', json.dumps({'gid': f'row-{number:05}', 'trans_type': 'saga' if number % 2 else 'msg',
                    'steps': [{'action': '', 'compensate': ''}], 'payloads': ['']}))
                reply = connection.getresponse()
                assert b'SUCCESS' in reply.read(), reply.status
            connection.close()
        threads = [threading.Thread(target=submit, args=(range(i, 10000, 8),)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        self.go('list')
        browser.wait('document.querySelectorAll("[data-row]").length === 50')
        first = browser.run('[...document.querySelectorAll("[data-row]")].map(row => row.innerText)')
        browser.click('#older')
        browser.wait('document.querySelector("[data-row]") && document.querySelector("[data-row]").innerText !== arguments[0]', first[0])
        browser.wait('document.querySelectorAll("[data-row]").length === 50')
        second = browser.run('[...document.querySelectorAll("[data-row]")].map(row => row.innerText)')
        self.assertFalse(set(first) & set(second))
        browser.click('button', '← Newer')
        browser.wait('document.querySelector("[data-row]")?.innerText === arguments[0]', first[0])

        self.go('nodes')
        browser.wait_text('this one', 'main')
        browser.press('/')
        browser.wait('document.activeElement.name === "gid"')
        browser.press(*'row-0777')
        browser.wait('document.querySelectorAll("[data-row]").length === 10')
        self.assertEqual(browser.run('document.activeElement.name'), 'gid')  # the list is drawn anew under it
        browser.click('select[name=type] option[value=saga]')
        browser.wait('document.querySelectorAll("[data-row]").length === 5')
        browser.click('a', 'Clear')
        browser.wait('document.querySelector("input[name=gid]").value === "" && document.querySelectorAll("[data-row]").length === 50')
        browser.click('select[name=status] option[value=failed]')
        browser.wait_text('No transaction is like this', 'main')

        self.go('list?gid=row-0777')
        browser.wait('document.querySelectorAll("[data-row]").length === 10')
        browser.press('j', 'j', 'k', 'j')
        self.assertEqual(browser.run('document.activeElement.innerText'), browser.run('document.querySelectorAll("[data-row]")[1].innerText'))
        browser.press('Enter')
        browser.wait_text('row-0777', '#gid')
        browser.press('Escape')
        browser.wait('location.hash.endsWith("list?gid=row-0777") && document.querySelectorAll("[data-row]").length === 10')

    def test_one_transaction(self):
        self.stuck_saga('one-1', payload=json.dumps({'note': 'x' * 60}))
        self.show('one-1')
        browser = self.browser
        browser.wait_text('boom', '[data-key=attempts]')
        self.assertRegex(browser.text('[data-key=branches]'), r'02 action\s+http://127.0.0.1:\d+/error\s+prepared\s+1')
        self.assertIn('next try', browser.text('[data-key=explanation]'))
        self.assertIn('submitted', self.decisions())
        browser.wait('document.querySelectorAll("[data-key=diagram] svg text").length > 3')
        self.assertEqual(browser.run('getComputedStyle(document.querySelector("[data-key=diagram] svg .l")).fill'), 'none')  # it has its style
        browser.click('[data-key="payload 02 action"] summary')
        self.assertIn('"note": "xxx', browser.text('[data-key="payload 02 action"]'))
        time.sleep(2.3)  # drawn again meanwhile, and it stays open
        self.assertIn('"note": "xxx', browser.text('[data-key="payload 02 action"]'))
        browser.click('[data-key=raw] summary')
        self.assertIn('"gid": "one-1"', browser.text('#raw'))
        self.show_unknown()

    def show_unknown(self):
        self.go('transaction?gid=never')
        self.browser.wait_text('There is no transaction of this gid', 'main')

    def act(self, gid, button, label, kind, status):
        """It asks who and why, and both are in the journal afterwards."""
        browser = self.browser
        self.stuck_saga(gid)
        self.show(gid)
        browser.click('main button', button)
        self.fill(why=f'{kind} it')
        browser.click('#dialog button', label)
        browser.wait_gone('#dialog[open]')
        browser.wait_text('the server has stored it', '[data-key=notice]')
        browser.wait_text(f'{kind} it', '[data-key=decisions]')
        self.assertRegex(self.decisions(), rf'{kind}[\s\S]*Ann\s+{kind} it')
        until(lambda: self.server.status(gid) == status)

    def test_retry(self):
        self.act('retry-1', 'Retry …', 'Retry', 'retry now', 'submitted')

    def test_cancel(self):
        self.act('cancel-1', 'Cancel …', 'Cancel', 'cancel', 'failed')

    def test_stop(self):
        self.act('stop-1', 'Stop …', 'Stop', 'force stop', 'failed')

    def test_skip_a_branch(self):
        self.stuck_saga('skip-1')
        self.show('skip-1')
        browser = self.browser
        browser.click('[data-do=skip-branch][data-branch="02"][data-op=action]')
        self.fill(why='done by hand')
        browser.click('#dialog button', 'Skip')
        browser.wait_text('done by hand', '[data-key=decisions]')
        self.assertRegex(self.decisions(), r'skipped\s+02 action\s+Ann\s+done by hand')
        until(lambda: self.server.status('skip-1') == 'succeed')
        browser.wait_text('succeed', 'main')
        browser.wait('!document.querySelector("[data-do=act]")')  # there is nothing left to do

    def test_an_action_without_a_reason_or_refused(self):
        self.stuck_saga('refused-1')
        self.show('refused-1')
        browser = self.browser
        browser.click('main button', 'Stop …')
        browser.wait('document.querySelector("#dialog[open] input[name=why]")')
        browser.click('#dialog button', 'Stop')
        self.assertTrue(browser.run('document.querySelector("#dialog").open'))
        browser.press('Escape')
        browser.wait_gone('#dialog[open]')
        self.assertEqual(self.server.status('refused-1'), 'submitted')
        browser.click('main button', 'Cancel …')
        self.server.ask('forceStop', {'gid': 'refused-1'})  # somebody else was faster
        self.fill()
        browser.click('#dialog button', 'Cancel')
        browser.wait_text('refused-1', '#dialog .note')
        self.assertIn('ended', browser.text('#dialog .note'))
        self.assertEqual(browser.run('document.querySelector("#dialog input[name=why]").value'), 'it was asked for')
        browser.click('#dialog button', 'Leave it')

    def test_bulk(self):
        for number in range(30):
            self.server.submit(f'bulk-{number:02}', (self.branch + '/wait', ''))
        self.go('list?gid=bulk-')
        browser = self.browser
        browser.wait('document.querySelectorAll("[data-row]").length === 30')
        browser.click('button', 'Act on all of these …')
        browser.wait_text('30 unfinished', '#bulk-count')
        self.assertEqual(browser.run('document.querySelectorAll("#dialog .first div").length'), 21)
        browser.click('#dialog option[value=stop]')
        self.fill(why='the partner is gone')
        browser.click('#dialog button', 'Do it to 30')
        browser.wait_text('Ended: 30 of 30 asked, 0 refused', '#bulk-progress')
        browser.click('#dialog button', 'Close')
        self.assertEqual({self.server.status(f'bulk-{number:02}') for number in range(30)}, {'failed'})
        self.show('bulk-07')
        self.assertRegex(self.decisions(), r'force stop\s+Ann\s+the partner is gone')

    def many(self, server, count):
        """Transactions that wait, and the preview of an action on all of them, at a slow network."""
        for number in range(count):
            server.submit(f'slow-{number:02}', (self.branch + '/wait', ''))
        self.go('list?gid=slow-', server)
        browser = self.browser
        browser.click('button', 'Act on all of these …')
        browser.wait_text(f'{count} unfinished', '#bulk-count')
        browser.click('#dialog option[value=stop]')
        self.fill()
        self.addCleanup(browser.slow, 0)
        browser.slow(150)
        browser.click('#dialog button', f'Do it to {count}')
        browser.wait('Number(document.querySelector("#dialog progress")?.value) >= 4')

    def ended(self, server, count):
        return sum(server.status(f'slow-{number:02}') == 'failed' for number in range(count))

    def test_a_bulk_action_is_stopped_midway(self):
        server = Server(self.folder, db='midway.db')
        self.addCleanup(lambda: server.stop())
        browser = self.browser
        self.many(server, 40)
        browser.click('#dialog button', 'Stop')
        browser.wait_gone('#dialog[open]')
        browser.wait_text('Stop: Stopped: ', '[data-key=notice]')
        asked = int(re.search(r'(\d+) of 40 asked, 0 refused', browser.text('[data-key=notice]'))[1])
        self.assertTrue(4 <= asked < 40, asked)
        self.assertEqual(self.ended(server, 40), asked)
        time.sleep(.5)
        self.assertEqual(self.ended(server, 40), asked)
        browser.slow(0)
        browser.click('input[name=unfinished]')
        browser.wait_text(f'{40 - asked} transactions', '#progress')

    def test_the_server_goes_in_the_middle_of_a_bulk_action(self):
        server = Server(self.folder, db='gone.db')
        self.addCleanup(lambda: server.stop())
        browser = self.browser
        self.many(server, 40)
        server.stop(signal.SIGKILL)
        browser.wait_text('so the others were not asked', '#dialog .note')
        asked, refused = map(int, re.search(r'Stopped: (\d+) of 40 asked, (\d+) refused', browser.text('#bulk-progress')).groups())
        self.assertTrue(1 <= refused <= 4 and 4 <= asked < 40, (asked, refused))
        self.assertIn('may or may not have been done', browser.text('#dialog .first'))
        server = Server(self.folder, port=server.port, db='gone.db')
        self.assertTrue(asked - refused <= self.ended(server, 40) <= asked)
        browser.slow(0)
        browser.click('#dialog button', 'Close')
        browser.wait('document.querySelector("#banner").hidden')

    def test_an_action_without_an_answer_is_in_doubt(self):
        server = Server(self.folder, db='doubt.db')
        self.addCleanup(lambda: server.stop())
        browser = self.browser
        self.stuck_saga('doubt-1', server=server)
        self.show('doubt-1', server)
        browser.click('main button', 'Stop …')
        server.stop(signal.SIGKILL)
        self.fill()
        browser.click('#dialog button', 'Stop')
        browser.wait_text('it may or may not have been done', '#dialog .note')
        server = Server(self.folder, port=server.port, db='doubt.db')
        browser.click('#dialog button', 'Stop')  # to ask again does no harm
        browser.wait_gone('#dialog[open]')
        browser.wait_text('failed', 'main')

    def test_each_filter(self):
        """Alone, by what the form has for it."""
        server = Server(self.folder, db='filters.db')
        self.addCleanup(lambda: server.stop())
        ok = self.branch + '/ok'
        server.submit('is-good', (ok, ok))
        server.submit('is-refused', (ok, ok), (self.branch + '/fail', ok))
        server.submit('is-message', (ok, ''), kind='msg')
        server.submit('is-waiting', (self.branch + '/wait?for=ever', ok))
        for gid in ('is-in-error', 'is-old', 'is-stuck'):
            self.stuck_saga(gid, server=server)
        server.ask('prepare', {'gid': 'is-prepared', 'trans_type': 'saga', 'steps': [{'action': ok, 'compensate': ok}], 'payloads': ['1']})
        until(lambda: [server.status(gid) for gid in ('is-good', 'is-message', 'is-refused')] == ['succeed', 'succeed', 'failed'])
        server.stop()
        with sqlite3.connect(self.folder / 'filters.db') as db:
            db.execute("UPDATE dtm_trans SET created = created - 7200000000 WHERE gid = 'is-old'")
            state = bytearray(db.execute("SELECT state FROM dtm_trans WHERE gid = 'is-stuck'").fetchone()[0])
            state[1] |= 1  # docs/store_format.md: as it is written when nothing will wake it
            db.execute("UPDATE dtm_trans SET state = ?, due = 9223372036854775807 WHERE gid = 'is-stuck'", (bytes(state),))
        db.close()
        server = Server(self.folder, db='filters.db')
        browser = self.browser
        self.go('list', server)

        def shows(*names):
            gids = ' '.join(sorted('is-' + name for name in names))
            browser.wait('[...document.querySelectorAll("[data-row]")].map(row => row.innerText).sort().join(" ") === arguments[0] && '
                         'document.querySelector("section[aria-busy=false]")', gids)

        def choose(name, value):
            browser.run('const field = document.querySelector(`#filters [name=${arguments[0]}]`); field.value = arguments[1];'
                        'field.dispatchEvent(new Event("change", {bubbles: true})); return 1', name, value)
        everything = ('good', 'refused', 'message', 'waiting', 'in-error', 'old', 'stuck', 'prepared')
        unfinished = ('waiting', 'in-error', 'old', 'stuck', 'prepared')
        shows(*everything)
        for name, left in (('stuck', ('stuck',)), ('errors', ('refused', 'waiting', 'in-error', 'old', 'stuck')), ('unfinished', unfinished)):
            browser.click(f'#filters [name={name}]')
            shows(*left)
            browser.click(f'#filters [name={name}]')
            shows(*everything)
        for name, value, left in (('age', '3600', ('old',)), ('age', '86400', ()), ('type', 'msg', ('message',)), ('status', 'prepared', ('prepared',))):
            choose(name, value)
            shows(*left)
            choose(name, '')
            shows(*everything)
        for name, text, left in (('target', 'wait?for', ('waiting',)), ('target', '/fail', ('refused',)), ('gid', 'is-o', ('old',))):
            browser.type(f'#filters [name={name}]', text)
            shows(*left)
            browser.click('a', 'Clear')
            shows(*everything)
        browser.click('#filters [name=errors]')
        choose('age', '3600')
        shows('old')
        self.assertIn('1 stuck', browser.run('document.querySelector("nav .chip").title'))
        self.show('is-stuck', server)
        browser.wait_text('stuck', 'main .chip.bad')
        browser.click('main button', 'Retry …')
        self.fill()
        browser.click('#dialog button', 'Retry')
        until(lambda: not server.ask('query', gid='is-stuck')[1]['transaction'].get('stuck'))

    def test_two_tabs(self):
        """What is done in one is seen in the other, and what was decided there is refused with a reason here."""
        browser = self.browser
        self.stuck_saga('tabs-1')
        first = browser.tabs()[0]
        self.show('tabs-1')
        browser.click('main button', 'Cancel …')
        self.fill(why='mine')
        second = browser.new_tab()
        try:
            self.show('tabs-1')
            browser.click('main button', 'Stop …')
            self.fill(why='yours', who='Bob')
            browser.click('#dialog button', 'Stop')
            browser.wait_text('failed', 'main')
            browser.use(first)
            browser.click('#dialog button', 'Cancel')
            browser.wait_text('tabs-1', '#dialog .note')
            browser.click('#dialog button', 'Leave it')
            browser.wait_text('yours', '[data-key=decisions]')
            self.assertNotIn('mine', self.decisions())
        finally:
            browser.use(second)
            browser.close_tab()
            browser.use(first)

    def test_topics(self):
        browser = self.browser
        self.go('topics')
        browser.wait('document.querySelector("form[data-do=subscribe]")')
        for _ in range(2):
            browser.run('for (const field of document.querySelectorAll("form[data-do=subscribe] input")) field.value = ""; return 1')
            browser.type('input[name=topic]', 'order.paid')
            browser.type('input[name=url]', 'http://stock/reserve')
            browser.type('input[name=remark]', 'the stock')
            browser.click('button', 'Subscribe')
            browser.wait('document.querySelector("main .note")')
        browser.wait_text('this url exists', '[data-key=problem]')
        self.assertRegex(browser.text('[data-key="topic order.paid"]'), r'http://stock/reserve\s+the stock')
        browser.click('[data-key="topic order.paid"] button', 'Unsubscribe …')
        browser.click('#dialog button', 'Unsubscribe')
        browser.wait_text('is unsubscribed', '[data-key=notice]')
        browser.wait_text('Nobody is subscribed', '[data-key="topic order.paid"]')
        self.server.ask('subscribe', topic='order.paid', url='http://ann:secret@stock/reserve', remark='')
        browser.press('r')
        browser.wait_text('http://***@stock/reserve', '[data-key="topic order.paid"]')
        browser.click('[data-key="topic order.paid"] button', 'Unsubscribe …')
        browser.click('#dialog button', 'Unsubscribe')
        browser.wait_text('Nobody is subscribed', '[data-key="topic order.paid"]')
        browser.click('[data-key="topic order.paid"] button', 'Delete topic …')
        browser.click('#dialog button', 'Delete')
        browser.wait_gone('[data-key="topic order.paid"]')

    def test_nodes(self):
        self.go('nodes')
        self.browser.wait_text('this one', 'main')
        self.assertEqual(self.browser.run('document.querySelectorAll("tbody tr").length'), 1)

    @unittest.skipUnless('DTM_POSTGRES' in os.environ, 'no PostgreSQL')
    def test_several_nodes(self):
        """The page is one's, the transactions are driven by others, of which two are killed."""
        names = [f'node {MARKUP}', 'the second', 'the third']
        servers = [Server(self.folder, store=os.environ['DTM_POSTGRES'], NODE_NAME=name) for name in names]
        for server in servers:
            self.addCleanup(server.stop)
        one, two, three = servers
        browser = self.browser
        self.go('nodes', one)
        for name in names:
            browser.wait_text(name, 'main table')
        browser.wait('document.querySelectorAll("main .chip.good").length === 3 && document.querySelectorAll("main .chip.busy").length === 1')
        self.assertEqual(browser.run('document.querySelectorAll("main img").length'), 0)
        three.stop(signal.SIGKILL)
        browser.wait('[...document.querySelectorAll("main tbody tr")].every(row => row.innerText.includes("the third") !== row.innerText.includes("member"))')

        actions = {'Retry': 'submitted', 'Cancel': 'failed', 'Stop': 'failed'}
        for label, status in actions.items():
            gid = f'nodes-{label}'
            self.stuck_saga(gid, server=two)
            self.show(gid, one)
            browser.click('[data-key=raw] summary')
            browser.wait_text(names[1], '#raw')  # drives it
            browser.run('scrollTo(0, 0); return 1')
            browser.click('main button', label + ' …')
            self.fill(why=f'{label} from elsewhere')
            browser.click('#dialog button', label)
            browser.wait_text(f'{label} from elsewhere', '[data-key=decisions]')
            until(lambda: two.status(gid) == status)  # pylint: disable=cell-var-from-loop
        self.stuck_saga('nodes-skip', server=two)
        self.show('nodes-skip', one)
        browser.click('[data-do=skip-branch][data-branch="02"][data-op=action]')
        self.fill(why='done by hand')
        browser.click('#dialog button', 'Skip')
        until(lambda: two.status('nodes-skip') == 'succeed')
        for number in range(5):
            two.submit(f'nodes-all-{number}', (self.branch + '/wait', ''))
        self.go('list?gid=nodes-all-', one)
        browser.click('button', 'Act on all of these …')
        browser.wait_text('5 unfinished', '#bulk-count')
        browser.click('#dialog option[value=cancel]')
        self.fill()
        browser.click('#dialog button', 'Do it to 5')
        browser.wait_text('Ended: 5 of 5 asked, 0 refused', '#bulk-progress')
        browser.click('#dialog button', 'Close')
        until(lambda: {two.status(f'nodes-all-{number}') for number in range(5)} == {'failed'})

        self.stuck_saga('nodes-heir', server=two)
        self.show('nodes-heir', one)
        two.stop(signal.SIGKILL)
        browser.click('main button', 'Stop …')
        self.fill(why='its node is dead')
        browser.click('#dialog button', 'Stop')
        browser.wait_text('its node is dead', '[data-key=decisions]')
        until(lambda: one.status('nodes-heir') == 'failed')  # by an heir

    def test_markup_stays_text(self):
        """In gids, payloads, URLs, errors, topics, names and reasons. tearDown looks if something ran."""
        server, browser = self.server, self.browser
        gid = f'gid {MARKUP}'
        self.stuck_saga(gid, payload=json.dumps({'note': MARKUP, 'more': 'x' * 50}), path='/error?' + urllib.parse.quote('<b>') + "'<img>",
                        branch_headers={"X-'Name": f'concealed {MARKUP}', 'Authorization': 'Basic concealed'}, custom_data=json.dumps({'note': MARKUP}))
        server.ask('resetNextCronTime', {'gid': gid, 'who': MARKUP[:60], 'why': MARKUP})
        server.ask('subscribe', topic=f'topic {MARKUP}', url='http://h/' + '<img>', remark=MARKUP)
        self.show(gid)
        browser.wait_text('boom "><img', '[data-key=attempts]')
        self.assertIn('"><img', self.decisions())
        browser.run('for (const one of document.querySelectorAll("details")) one.open = true; return 1')
        self.assertEqual(browser.run('document.querySelectorAll("main img, main script").length'), 0)
        self.assertIn("X-'Name", browser.text('[data-key=options]'))
        self.assertFalse(browser.run('document.documentElement.outerHTML.includes("concealed")'))
        browser.click('main button', 'Retry …')
        self.fill(why=MARKUP.replace('"', "'"), who='<i>Ann</i>')
        browser.click('#dialog button', 'Retry')
        browser.wait_text('<i>Ann</i>', '[data-key=decisions]')
        for place in ('list?' + urllib.parse.urlencode({'gid': 'gid '}), 'topics'):
            self.go(place)
            browser.wait_text(MARKUP, 'main')
            self.assertEqual(browser.run('document.querySelectorAll("main img, main script").length'), 0)
        self.go('list?' + urllib.parse.urlencode({'gid': MARKUP, 'at': 'x'}))  # refused, with a sentence
        browser.wait('document.querySelector("[data-key=problem]")')

    def test_a_token_is_asked_for(self):
        server = Server(self.folder, token='secret', db='token.db')
        self.addCleanup(lambda: server.stop())
        browser = self.browser
        self.go(server=server)
        browser.wait('document.querySelector("#login[open]")')
        browser.type('#login input', 'wrong')
        browser.click('#login button')
        browser.wait_text('does not take this token', '#login')
        browser.press('Escape')  # there is nothing to see without it
        for wrong in ('gehéim', 'two words', '\u202e'):
            browser.run('document.querySelector("#login input").value = ""; return 1')
            browser.type('#login input', wrong)
            browser.click('#login button')
            browser.wait_text('No token has such a character', '#login')
        browser.run('document.querySelector("#login input").value = ""; return 1')
        browser.type('#login input', 'secret')
        browser.click('#login button')
        browser.wait_text('unfinished', '.tile')
        browser.wait_gone('#login[open]')
        server.stop()
        server = Server(self.folder, port=server.port, token='another', db='token.db')
        browser.wait_text('does not take this token', '#login')  # it has expired while the page was open
        browser.type('#login input', 'another')
        browser.click('#login button')
        browser.wait_gone('#login[open]')
        browser.wait('document.querySelector(".dot.good")')
        self.assertEqual(browser.run('Object.keys(localStorage).length + document.cookie.length'), 0)
        browser.run('sessionStorage.clear(); return 1')

    def test_a_restart_while_it_is_open(self):
        server = Server(self.folder, db='restart.db')
        self.addCleanup(lambda: server.stop())
        server.submit('restart-1', (self.branch + '/wait', ''))
        browser = self.browser
        self.go('transaction?gid=restart-1', server)
        browser.wait_text('restart-1', '#gid')
        server.stop(signal.SIGKILL)
        browser.wait_text('does not answer', '#banner')
        self.assertIn('restart-1', browser.text('#gid'))
        server = Server(self.folder, port=server.port, db='restart.db')
        browser.wait('document.querySelector("#banner").hidden')
        server.ask('forceStop', {'gid': 'restart-1'})
        browser.wait_text('failed', 'main')

    def test_answers_that_are_none(self):
        """The desk says what is wrong, and asks again."""
        browser = self.browser
        self.go()
        browser.wait_text('unfinished', 'main')
        broken = 'new Response(new ReadableStream({start(made) { made.error(new TypeError("cut")); }}))'
        browser.run(f'window.real = fetch; window.fetch = async () => {broken}; return 1')
        browser.wait_text('does not answer', '#banner')
        browser.run('window.fetch = async () => new Response("<html>please log in"); return 1')
        browser.wait_text('did not send JSON', '#banner')
        browser.run('window.fetch = async () => new Response(`{"message": "the store cannot be read now"}`, {status: 503}); return 1')
        browser.wait_text('the store cannot be read now', '#banner')
        self.assertEqual(browser.run('return document.querySelector("#server .dot").className'), 'dot bad')
        browser.run('window.fetch = real; return 1')
        browser.wait('document.querySelector("#banner").hidden')
        self.assertEqual(browser.run('return document.querySelector("#server .dot").className'), 'dot good')

    def test_a_list_that_was_asked_for_while_there_was_no_server(self):
        self.stuck_saga('unread-1')
        self.stuck_saga('other-1')
        browser = self.browser
        self.go('list')
        browser.wait_text('other-1', 'tbody')
        browser.run('window.real = fetch; window.fetch = async () => { throw new TypeError("no server"); }; return 1')
        browser.type('#filters input[name=gid]', 'unread-')
        browser.wait_text('does not answer', '#banner')
        browser.run('window.fetch = real; return 1')
        browser.wait('document.querySelectorAll("tbody tr").length === 1')
        self.assertIn('unread-1', browser.text('tbody'))
        browser.wait_text('1 transaction', '#progress')

    def test_what_a_server_says_of_others_and_of_damage(self):
        browser = self.browser
        self.go()
        browser.wait_text('unfinished', 'main')
        browser.run("""const real = fetch;
            window.fetch = async (url, options) => {
              const reply = await real(url, options);
              if (!reply.headers.get('Content-Type').includes('json')) return reply;
              const told = await reply.json();
              if (told.nodes) told.nodes.push({name: 'old', url: '', app: '', member: false, silent_ms: null, self: false});
              if (told.counters) Object.assign(told, {damaged: 3, store_fails: location.hash !== '#/nodes'});
              if (told.transaction) told.transaction.expired = true;
              return new Response(JSON.stringify(told));
            };
            return 1""")
        browser.wait_text('records are damaged', 'main')
        browser.wait_text('The last write to the store failed', '#banner')
        self.assertEqual(browser.run('return document.querySelector("#server .dot").className'), 'dot bad')
        browser.run('location.hash = "#/nodes"; return 1')
        browser.wait_text('old', 'tbody')
        self.assertRegex(browser.text('tbody'), r'old\s+gone\s*$')  # when it was heard of is not known
        browser.wait('document.querySelector("#banner").hidden')
        self.server.submit('ended-1', (self.branch + '/ok', ''))
        until(lambda: self.server.status('ended-1') == 'succeed')
        browser.run('location.hash = "#/transaction?gid=ended-1"; return 1')
        browser.wait_text('expired', 'main')
        self.assertRegex(browser.text('[data-key=head] p'), r'saga, ended .* ago$')  # nothing else is kept of it

    def test_narrow_wide_dark_and_light(self):
        self.stuck_saga('look-' + 'x' * 100)
        browser = self.browser
        places = ['', 'list', 'transaction?gid=look-' + 'x' * 100, 'topics', 'nodes']
        for place in places:
            self.go(place)
            browser.wait('document.querySelector("main h1, main .tile")')
            for width in (400, 1280):
                browser.size(width, 800)
                self.assertLessEqual(browser.run('document.documentElement.scrollWidth'), width, place)
        backgrounds = []
        for dark in (False, True):
            browser.look(dark)
            backgrounds.append(browser.run('getComputedStyle(document.body).backgroundColor'))
        self.assertEqual(len(set(backgrounds)), 2)

    def test_keys_and_roles(self):
        browser = self.browser
        self.go('nodes')
        browser.wait_text('this one', 'main')
        browser.press('Tab')
        self.assertEqual(browser.run('document.activeElement.innerText'), 'Skip to the page')
        self.assertNotEqual(browser.run('getComputedStyle(document.activeElement).outlineStyle'), 'none')
        browser.press('Enter')
        self.assertEqual(browser.run('document.activeElement.id'), 'main')
        browser.press('?')
        browser.wait_text('next and previous', '#dialog')
        browser.press('Escape')
        browser.wait_gone('#dialog[open]')
        self.assertEqual(browser.run('document.querySelector("nav [aria-current=page]").innerText'), 'Nodes')
        unnamed = '[...document.querySelectorAll("button, a, input, select")].filter(one => !(one.innerText || one.ariaLabel || one.labels?.length)).length'
        for place in ('', 'list', 'topics'):
            self.go(place)
            browser.wait('document.querySelector("main h1, main .tile")')
            self.assertEqual(browser.run(unnamed), 0, place)

    def test_what_the_admin_page_of_dtm_asks(self):
        """Its requests and the fields that it shows, by its sources: dtm v1.18.0, admin/src. Nobody publishes it built."""
        self.stuck_saga('admin-1')
        self.go()
        self.browser.wait_text('unfinished', '.tile')

        def ask(path, method='GET', **values):  # as axios asks, from a page of this origin
            query = '?' + urllib.parse.urlencode(values) if method == 'GET' and values else ''
            body = json.dumps(values) if method == 'POST' else None
            return self.browser.run(
                'return fetch("/api/dtmsvr/" + arguments[0], {method: arguments[1], body: arguments[2] ?? undefined, headers: {Accept: "application/json, text/plain, */*",'
                ' ...(arguments[2] ? {"Content-Type": "application/json"} : {})}}).then(reply => reply.json().then(data => [reply.status, data]))', path + query, method, body)
        listed = dict(position='', gid='', status='', transType='', createTimeStart='', createTimeEnd='', limit=10)
        status, page = ask('all', **listed)
        self.assertEqual(status, 200)
        self.assertIn('admin-1', [row['gid'] for row in page['transactions']])
        for row in page['transactions']:
            self.assertLessEqual({'gid', 'trans_type', 'status', 'protocol', 'create_time', 'update_time'}, set(row))
        self.assertEqual(ask('all', **{**listed, 'limit': 1})[1]['next_position'] != '', len(page['transactions']) > 1)
        self.assertEqual(ask('all', **{**listed, 'gid': 'admin-1'})[1]['transactions'][0]['status'], 'submitted')
        self.assertEqual(ask('all', **{**listed, 'status': 'submitted', 'transType': 'saga', 'createTimeStart': 1, 'createTimeEnd': int(time.time() * 1000) + 1000})[0], 200)
        status, found = ask('query', gid='admin-1')
        self.assertEqual({(row['branch_id'], row['op']) for row in found['branches']}, {(number, op) for number in ('01', '02') for op in ('action', 'compensate')})
        for row in found['branches']:
            self.assertLessEqual({'gid', 'branch_id', 'op', 'status', 'create_time', 'update_time', 'url'}, set(row))
        self.assertIsInstance(found['transaction']['options'], str)
        self.assertEqual(ask('resetNextCronTime', 'POST', gid='admin-1')[0], 200)
        self.assertEqual(ask('forceStop', 'POST', gid='admin-1')[0], 200)
        self.assertEqual(ask('query', gid='admin-1')[1]['transaction']['status'], 'failed')
        self.assertEqual(ask('subscribe', topic='admin', url='http://h/a', remark='r')[0], 200)
        topic = ask('queryKV', cat='topics', key='admin')[1]['kv'][0]
        self.assertEqual(json.loads(topic['v']), [{'url': 'http://h/a', 'remark': 'r'}])
        self.assertIn('admin', [one['k'] for one in ask('scanKV', cat='topics', limit=10)[1]['kv']])
        self.assertEqual(ask('unsubscribe', topic='admin', url='http://h/a')[0], 200)
        self.assertEqual(ask('topic/admin', 'DELETE')[0], 200)
        self.assertTrue(ask('version')[1]['version'].startswith('v'))

    def test_an_open_desk_costs_the_server_nearly_nothing(self):
        self.go()
        self.browser.wait_text('unfinished', '.tile')
        begin, cpu = time.monotonic(), self.server.cpu_seconds()
        time.sleep(4)
        share = (self.server.cpu_seconds() - cpu) / (time.monotonic() - begin)
        self.assertLess(share, .01)


if __name__ == '__main__':
    unittest.main(verbosity=1)
