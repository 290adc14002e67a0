#!/usr/bin/env python3
"""dtm-server as its users meet it: start, stop, a crash, and every way to start it wrong.

Usage: program_test.py PATH_OF_dtm-server
"""
import http.server
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

PROGRAM = sys.argv.pop(1)
ENVIRONMENT = {'PATH': os.environ['PATH']}
for name in os.environ:
    if name.endswith('SAN_OPTIONS'):
        ENVIRONMENT[name] = os.environ[name]


class Running:
    """A server that said it is ready."""

    def __init__(self, folder, *arguments, **environment):
        self.process = subprocess.Popen([PROGRAM, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env={**ENVIRONMENT, **environment})
        self.line = self.process.stdout.readline()
        match = re.search(r'(http://\S+)/api/dtmsvr', self.line)
        if not match:
            raise AssertionError(self.line + self.process.communicate()[1])
        self.url = match[1]

    def ask(self, path, body=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


class ProgramTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.started = []
        self.addCleanup(lambda: [server.stop(signal.SIGKILL) for server in self.started
                                 if server.process.returncode is None])

    def start(self, *arguments, **environment):
        server = Running(self.folder, '--listen', '127.0.0.1:0', *arguments, **environment)
        self.started.append(server)
        return server

    def refused(self, sentence, *arguments, **environment):
        """It must say this in one line and end with 1."""
        done = subprocess.run([PROGRAM, *arguments], cwd=self.folder, text=True, capture_output=True, timeout=20,
                              env={**ENVIRONMENT, **environment})
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(done.stdout, '')
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
        self.assertRegex(done.stderr, '^dtm-server: .*' + sentence)

    def test_one_line_when_ready_and_a_clean_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.start('--db', 'bank.db')
            self.assertRegex(server.line, r'^dtm-server \d+\.\d+\.\d+ is ready at http://127\.0\.0\.1:\d+/api/dtmsvr, '
                                          r'store bank\.db, desk at /desk\n$')
            self.assertEqual(server.ask('/api/ping'), (200, {'msg': 'pong'}))
            self.assertEqual(server.stop(number), (0, '', ''))
        mode = stat.S_IMODE((self.folder / 'bank.db').stat().st_mode)
        self.assertEqual(mode, 0o600)

    def test_what_was_accepted_survives_kill_9(self):
        server = self.start()
        body = {'gid': 'g1', 'trans_type': 'saga', 'payloads': ['1'],
                'steps': [{'action': 'http://127.0.0.1:1/x', 'compensate': ''}]}
        self.assertEqual(server.ask('/api/dtmsvr/submit', body)[0], 200)
        server.stop(signal.SIGKILL)
        again = self.start()
        self.assertEqual(again.ask('/api/dtmsvr/query?gid=g1')[1]['transaction']['status'], 'submitted')

    def test_the_desk_is_there_unless_it_is_switched_off(self):
        def status(server):
            try:
                with urllib.request.urlopen(server.url + '/desk', timeout=10) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code
        self.assertEqual(status(self.start('--db', 'on.db', '--token', 'secret')), 200)
        off = self.start('--db', 'off.db', DTM_DESK='off')
        self.assertNotIn('desk', off.line)
        self.assertEqual(status(off), 404)
        self.refused("Desk is 'no'; it must be on or off", '--listen', '127.0.0.1:0', DTM_DESK='no')

    def test_what_is_not_needed_is_not_loaded(self):
        server = self.start('--db', 'bank.db')
        maps = pathlib.Path(f'/proc/{server.process.pid}/maps').read_text(encoding='utf-8')
        self.assertEqual(re.findall('lib(?:pq|mariadb|mysqlclient|ssl|crypto|gnutls)[.-]|dtm-server-', maps), [])

    def test_a_module_that_is_missing(self):
        alone = shutil.copy(PROGRAM, self.folder)
        done = subprocess.run([alone, '--store', 'mysql://a@b/c'], cwd=self.folder, text=True, capture_output=True, timeout=20,
                              env=ENVIRONMENT, check=False)
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stderr, '^dtm-server: --store names MySQL, and its module cannot be loaded: dtm-server-mysql.so: .*; '
                                      'build and install dtm-server where CMake finds libmariadb .*\n$')

    def test_a_call_by_https_loads_what_it_needs(self):
        if not (pathlib.Path(PROGRAM).parent / 'dtm-server-tls.so').exists():
            self.skipTest('built without OpenSSL')
        class Plain(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

        plain = http.server.HTTPServer(('127.0.0.1', 0), Plain)
        self.addCleanup(plain.server_close)
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        self.addCleanup(plain.shutdown)
        server = self.start('--db', 'bank.db')
        server.ask('/api/dtmsvr/submit', {'gid': 'g1', 'trans_type': 'saga', 'payloads': ['1'],
                                          'steps': [{'action': f'https://127.0.0.1:{plain.server_port}/x', 'compensate': ''}]})
        error = ''
        until = time.monotonic() + 20
        while not error and time.monotonic() < until:
            time.sleep(0.05)
            error = server.ask('/api/dtmsvr/query?gid=g1')[1]['transaction'].get('last_error', '')
        self.assertRegex(error, 'TLS is not agreed on: ')

    def test_help_and_version(self):
        for flag in ('--help', '-h', '--version', '-v'):
            done = subprocess.run([PROGRAM, flag], text=True, capture_output=True, timeout=20, env=ENVIRONMENT)
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            self.assertIn('dtm-server', done.stdout)

    def test_mistakes_on_the_command_line(self):
        self.refused("'--nope' is not known; see --help", '--nope')
        self.refused('--db needs a value', '--db')
        self.refused('--listen is .*HOST:PORT', '--listen', '36789')
        self.refused('from 0 to 65535', '--listen', '127.0.0.1:99999')
        self.refused("settings file 'no.yml' cannot be read", '-c', 'no.yml')

    def test_what_it_cannot_have(self):
        server = self.start('--db', 'a.db')
        port = server.url.rsplit(':')[-1]
        self.refused(f'cannot listen on 127.0.0.1:{port}: Address already in use', '--db', 'b.db',
                     '--listen', f'127.0.0.1:{port}')
        self.refused(r"another coordinator.*'\S*a.db", '--db', 'a.db', '--listen', '127.0.0.1:0')
        (self.folder / 'text.db').write_text('this is no database, it is text' * 50)
        self.refused('text.db', '--db', 'text.db', '--listen', '127.0.0.1:0')
        self.refused('folder', '--db', 'no/such/folder/a.db', '--listen', '127.0.0.1:0')
        self.refused("'0.0.0.0' .* needs a token", '--listen', '0.0.0.0:0')
        if socket.has_ipv6:
            self.refused('needs a token', '--listen', '[::]:0')

    def test_a_token_opens_a_public_address(self):
        for arguments, environment in ((['--token', 'secret'], {}), ([], {'DTM_TOKEN': 'secret'})):
            server = Running(self.folder, '--listen', '0.0.0.0:0', *arguments, **environment)
            self.started.append(server)
            server.url = server.url.replace('0.0.0.0', '127.0.0.1')
            self.assertEqual(server.ask('/api/dtmsvr/newGid')[0], 401)
            self.assertEqual(server.ask('/api/dtmsvr/newGid', Authorization='Bearer secret')[0], 200)
            server.stop()

    def test_settings(self):
        (self.folder / 'dtm.yml').write_text("# dtm's own form\nRetryInterval: 77 # s\nLogLevel: 'warn'\n"
                                             'Store:\n  Driver: sqlite\n  FinishedDataExpire: 60\n  FinishedGidExpire: 600\n')
        server = self.start('-c', 'dtm.yml', RETRY_INTERVAL='55', REQUEST_TIMEOUT='4')
        body = {'gid': 'g1', 'trans_type': 'saga', 'payloads': ['1'],
                'steps': [{'action': 'http://127.0.0.1:1/x', 'compensate': ''}]}
        server.ask('/api/dtmsvr/submit', body)
        self.assertEqual(server.ask('/api/dtmsvr/query?gid=g1')[1]['transaction']['next_cron_interval'], 77)
        self.assertEqual(server.ask('/api/dtmsvr/timeline?gid=g1')[1]['entries'][0]['kind'], 'submitted')
        server.stop()
        server = self.start('--history', '0', '--db', 'silent.db')
        server.ask('/api/dtmsvr/submit', body)
        self.assertEqual(server.ask('/api/dtmsvr/timeline?gid=g1')[1]['entries'], [])
        server.stop()
        # As YAML of other tools begins and ends; a second document does not count.
        (self.folder / 'marks.yml').write_bytes(b'\xef\xbb\xbf--- # settings\r\nRetryInterval: 78\r\nLogLevel: WARN\r\n...\r\nwhatever\r\n')
        for settings, seconds in (('marks.yml', 78), ('two.yml', 79)):
            (self.folder / 'two.yml').write_text('---\nRetryInterval: 79\n---\nRetryInterval: 80\n')
            server = self.start('-c', settings, '--db', settings + '.db', LOG_LEVEL='Info')
            self.assertEqual(server.ask('/api/dtmsvr/submit', body)[0], 200)
            self.assertEqual(server.ask('/api/dtmsvr/query?gid=g1')[1]['transaction']['next_cron_interval'], seconds)
            server.stop()
        server = self.start(TIMEOUT_TO_FAIL='1')
        server.ask('/api/dtmsvr/prepare', {'gid': 't1', 'trans_type': 'tcc'})
        for _ in range(100):
            tcc = server.ask('/api/dtmsvr/query?gid=t1')[1]['transaction']
            if tcc['status'] == 'failed':
                break
            time.sleep(0.1)
        self.assertEqual(tcc['rollback_reason'], 'Timeout after 1 seconds')
        self.refused("RETRY_INTERVAL|RetryInterval is 'soon'", RETRY_INTERVAL='soon')
        self.refused('stores in SQLite', STORE_DRIVER='redis')
        self.refused("LogLevel is 'loud'", LOG_LEVEL='loud')
        self.refused("LogFormat is 'xml'; it must be text, json or events", LOG_FORMAT='xml')
        self.refused("AlertWebHook: the alert web hook \"ftp://h/x\" does not start with http:// or https://",
                     ALERT_WEB_HOOK='ftp://h/x')
        self.refused("AlertRetryLimit is 'often'", ALERT_RETRY_LIMIT='often')
        self.refused("Store.History is '501'", STORE_HISTORY='501')
        self.refused("--history is 'all'", '--history', 'all')
        (self.folder / 'bad.yml').write_text('no colon here\n')
        self.refused('bad.yml: the line', '-c', 'bad.yml')

    def test_the_log_as_json_with_events(self):
        for log_format in ('json', 'events'):
            server = self.start(LOG_FORMAT=log_format, TIMEOUT_TO_FAIL='1')
            gid = log_format + '\u00e4"'
            server.ask('/api/dtmsvr/prepare', {'gid': gid, 'trans_type': 'tcc'})
            for _ in range(100):
                if server.ask('/api/dtmsvr/query?gid=' + urllib.parse.quote(gid))[1]['transaction']['status'] == 'failed':
                    break
                time.sleep(0.1)
            code, _, said = server.stop()
            self.assertEqual(code, 0)
            lines = [json.loads(line) for line in said.splitlines()]
            logged = [line for line in lines if 'level' in line and line.get('gid') == gid]
            self.assertEqual([line['level'] for line in logged], ['info'], said)
            self.assertIn('Timeout after 1 seconds', logged[0]['message'])
            events = [line['event'] for line in lines if 'event' in line]
            self.assertEqual(events, ['prepared', 'rollback', 'failed'] if log_format == 'events' else [], said)

    def test_a_branch_that_keeps_failing_is_told_to_the_web_hook(self):
        told = queue.Queue()

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                told.put((self.path, json.loads(self.rfile.read(int(self.headers['Content-Length'])))))
                self.send_error(500)  # nobody minds

            def log_message(self, *_):
                pass

        hook = http.server.HTTPServer(('127.0.0.1', 0), Hook)
        self.addCleanup(hook.server_close)
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        self.addCleanup(hook.shutdown)
        (self.folder / 'dtm.yml').write_text(f'AlertWebHook: "http://127.0.0.1:{hook.server_port}/bell?who=me"\n')
        server = self.start('-c', 'dtm.yml', ALERT_RETRY_LIMIT='2', RETRY_INTERVAL='1')
        server.ask('/api/dtmsvr/submit', {'gid': 'g1', 'trans_type': 'saga', 'payloads': ['1'],
                                          'steps': [{'action': 'http://127.0.0.1:1/x', 'compensate': ''}]})
        path, alert = told.get(timeout=20)
        self.assertEqual(path, '/bell?who=me')
        self.assertRegex(alert.pop('error'), 'cannot be reached')
        self.assertEqual(alert, {'gid': 'g1', 'status': 'submitted', 'branch': 'http://127.0.0.1:1/x', 'retry_count': 2})
        self.assertEqual(told.get(timeout=20)[1]['retry_count'], 3)
        self.assertEqual(server.stop()[0], 0)

    def silent(self):
        """A service that takes connections and says nothing."""
        listener = socket.create_server(('127.0.0.1', 0), backlog=100)
        self.addCleanup(listener.close)
        return f'http://127.0.0.1:{listener.getsockname()[1]}/x'

    def test_sigterm_answers_who_waits_and_ends_soon(self):
        url = self.silent()
        for trans_type, body in (('saga', {'steps': [{'action': url, 'compensate': url}], 'payloads': ['1']}),
                                 ('msg', {'steps': [{'action': url}], 'payloads': ['1'], 'query_prepared': url})):
            server = self.start('--db', trans_type + '.db')
            answers = queue.Queue()

            def submit(gid):
                begin = {'gid': gid, 'trans_type': trans_type, 'wait_result': True, 'request_timeout': 30, **body}
                answers.put((server.ask('/api/dtmsvr/submit', begin), time.monotonic()))

            gids = [f'{trans_type}{i}' for i in range(20)]
            threads = [threading.Thread(target=submit, args=[gid]) for gid in gids]
            for thread in threads:
                thread.start()
            for gid in gids:
                while server.ask('/api/dtmsvr/query?gid=' + gid)[1]['transaction'] is None:
                    time.sleep(0.01)
            self.assertTrue(answers.empty())
            begin = time.monotonic()
            self.assertEqual(server.stop(), (0, '', ''))
            self.assertLess(time.monotonic() - begin, 2)
            for _ in threads:
                (status, answer), when = answers.get(timeout=20)
                self.assertEqual(status, 425, answer)
                self.assertLess(when - begin, 0.9)  # at once: not when the second for its calls is over
            for thread in threads:
                thread.join()

    def test_sigterm_does_not_wait_for_what_hangs(self):
        (self.folder / 'dtm.yml').write_text(f'AlertWebHook: "{self.silent()}"\n')
        server = self.start('-c', 'dtm.yml', ALERT_RETRY_LIMIT='1', RETRY_INTERVAL='1')
        server.ask('/api/dtmsvr/submit', {'gid': 'g1', 'trans_type': 'saga', 'payloads': ['1'],
                                          'steps': [{'action': 'http://127.0.0.1:1/x', 'compensate': ''}]})
        while not server.ask('/api/dtmsvr/all')[1]['transactions']:
            time.sleep(0.01)
        time.sleep(0.3)  # the alert is on its way
        begin = time.monotonic()
        code, out, err = server.stop()
        self.assertLess(time.monotonic() - begin, 2)
        self.assertEqual((code, out), (0, ''))
        self.assertRegex(err, 'something hangs')


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0]], verbosity=1)
