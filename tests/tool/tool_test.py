#!/usr/bin/env python3
"""The tool dtm as its users meet it: every command at a dtm-server and on a file, exit codes, JSON, and texts that want to harm.

Usage: tool_test.py PATH_OF_dtm PATH_OF_dtm-server
"""
import http.server
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

DTM, SERVER = sys.argv.pop(1), sys.argv.pop(1)
ENVIRONMENT = {'PATH': os.environ['PATH'], 'LC_ALL': 'C.UTF-8'}
for name in os.environ:
    if name.endswith('SAN_OPTIONS'):
        ENVIRONMENT[name] = os.environ[name]
HOSTILE = 'h\x1b[31m\x07\x9b\u202e<script>'
TOKEN = 'a-secret-token'


class Branches(http.server.BaseHTTPRequestHandler):
    """/ok succeeds, /no fails, /bad is an error."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        status, body = {'/ok': (200, b'{"dtm_result":"SUCCESS"}'), '/no': (409, b'no money \x1b[31mred')}.get(
            self.path.split('?')[0], (500, b'the disk of the bank is full, account 4711'))
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def folder_bytes(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir() if path.is_file()}


class ToolTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.branches = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Branches)
        cls.branches.handle_error = lambda *_: None  # a server was killed
        cls.bank = f'http://127.0.0.1:{cls.branches.server_port}'
        threading.Thread(target=cls.branches.serve_forever, daemon=True).start()
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.file = str(cls.folder / 'bank.db')
        cls.start()
        cls.submit('good', '/ok')
        cls.submit('no', '/no')
        cls.submit('bad-1', '/bad?key=hidden', headers={'Authorization': 'Basic hidden'})
        cls.submit('bad-2', '/bad')
        for gid in ('prepared-1', 'prepared-2'):
            cls.submit(gid, '/ok', path='prepare')
        cls.ask('subscribe?topic=news&url=' + cls.bank + '/ok', b'')
        cls.until('good', 'succeed')
        cls.until('no', 'failed')
        for gid in ('bad-1', 'bad-2'):
            cls.until_error(gid)

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.server.communicate()
        cls.branches.shutdown()
        cls.temporary.cleanup()

    @classmethod
    def start(cls):
        cls.server = subprocess.Popen([SERVER, '--db', cls.file, '--listen', '127.0.0.1:0'], text=True, cwd=cls.folder,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**ENVIRONMENT, 'DTM_TOKEN': TOKEN})
        cls.url = re.search(r'http://[^/]+', cls.server.stdout.readline())[0]

    @classmethod
    def ask(cls, path, body=None):
        request = urllib.request.Request(f'{cls.url}/api/dtmsvr/{path}', body, {'Authorization': 'Bearer ' + TOKEN})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    @classmethod
    def submit(cls, gid, branch, path='submit', headers=None):
        body = {'gid': gid, 'trans_type': 'saga', 'payloads': ['{"secret":"payload"}'],
                'steps': [{'action': cls.bank + branch, 'compensate': ''}], 'branch_headers': headers or {}}
        cls.ask(path, json.dumps(body).encode())

    @classmethod
    def query(cls, gid):
        return cls.ask('query?gid=' + gid)['transaction']

    @classmethod
    def until_error(cls, gid):
        """And no call of it is running."""
        deadline = time.monotonic() + 20
        while 'last_error' not in cls.query(gid):
            if time.monotonic() > deadline:
                raise AssertionError(f'{gid} is {cls.query(gid)}')
            time.sleep(0.02)

    @classmethod
    def until(cls, gid, status):
        deadline = time.monotonic() + 20
        while cls.query(gid)['status'] != status:
            if time.monotonic() > deadline:
                raise AssertionError(f'{gid} is {cls.query(gid)}')
            time.sleep(0.02)

    def run_tool(self, *arguments, **environment):
        return subprocess.run([DTM, *arguments], capture_output=True, text=True, timeout=60, cwd=self.folder, env={**ENVIRONMENT, **environment})

    def dtm(self, *arguments, ends=0):
        """At the coordinator."""
        done = self.run_tool('--url', self.url, *arguments, DTM_TOKEN=TOKEN)
        self.assertEqual(done.returncode, ends, done)
        if ends == 0:
            self.assertEqual(done.stderr, '')
        return done.stdout

    def on_file(self, *arguments, ends=0, file=None):
        done = self.run_tool('--file', file or self.file, *arguments)
        self.assertEqual(done.returncode, ends, done)
        return done.stdout

    def both(self, *arguments):
        """At the coordinator and on its file at the same time: they say the same."""
        one, two = json.loads(self.dtm(*arguments, '--json')), json.loads(self.on_file(*arguments, '--json'))
        return one, two

    def gids(self, *arguments):
        one, two = self.both('ls', *arguments)
        found = [each['gid'] for each in one['transactions']]
        self.assertEqual(found, [each['gid'] for each in two['transactions']])
        return found

    def refused(self, sentence, ends, *arguments, **environment):
        done = self.run_tool(*arguments, **environment)
        self.assertEqual(done.returncode, ends, done)
        self.assertRegex(done.stderr, '^dtm: .*' + sentence)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
        return done

    # ---- lists

    def test_ls_with_each_filter(self):
        everything = self.gids()
        self.assertEqual([gid for gid in everything if gid in ('good', 'no', 'bad-1', 'bad-2', 'prepared-1', 'prepared-2')],
                         ['prepared-2', 'prepared-1', 'bad-2', 'bad-1', 'no', 'good'])
        self.assertEqual(self.gids('--prefix', 'bad-'), ['bad-2', 'bad-1'])
        self.assertEqual(self.gids('--prefix', 'prepared-', '--status', 'prepared'), ['prepared-2', 'prepared-1'])
        self.assertEqual(self.gids('--status=failed', '--prefix=no'), ['no'])
        self.assertIn('bad-1', self.gids('--unfinished', '--errors'))
        self.assertNotIn('good', self.gids('--unfinished'))
        self.assertEqual(self.gids('--target', '/bad?key'), ['bad-1'])
        self.assertEqual(self.gids('--type', 'msg'), [])
        self.assertEqual(self.gids('--older', '1d'), [])
        self.assertEqual(self.gids('--newer', '1h', '--prefix', 'good'), ['good'])
        self.assertEqual(self.gids('--stuck'), [])
        self.assertEqual(self.dtm('ls', '--stuck'), 'there are none\n')

    def test_ls_page_by_page(self):
        first = json.loads(self.dtm('ls', '--limit', '2', '--json'))
        self.assertEqual(len(first['transactions']), 2)
        rest = json.loads(self.dtm('ls', '--position', first['next_position'], '--json'))
        gids = [each['gid'] for each in first['transactions'] + rest['transactions']]
        self.assertEqual(gids, [each['gid'] for each in json.loads(self.dtm('ls', '--json'))['transactions']])
        self.assertRegex(self.dtm('ls', '--limit', '2'), r'there may be more: --position \d+\n$')

    def test_columns_are_aligned_and_without_colours(self):
        text = self.dtm('ls', '--prefix', 'prepared-')
        head, first, second = text.splitlines()
        self.assertEqual(head.split()[:3], ['GID', 'TYPE', 'STATUS'])
        self.assertEqual({line.index('saga') for line in (first, second)}, {head.index('TYPE')})
        self.assertRegex(first, r'^prepared-2 +saga +prepared +\d+ (ms|s|min) ago')
        self.assertNotIn('\x1b', text)

    def on_terminal(self, *arguments, **environment):
        """What it writes to a terminal."""
        parent, child = pty.openpty()
        process = subprocess.Popen([DTM, '--url', self.url, *arguments], stdout=child, stderr=child, env={**ENVIRONMENT, 'DTM_TOKEN': TOKEN, **environment})
        os.close(child)
        written = b''
        try:
            while piece := os.read(parent, 65536):
                written += piece
        except OSError:
            pass
        os.close(parent)
        process.wait(timeout=20)
        return written.decode()

    def test_colours_only_on_a_terminal_and_if_nobody_objects(self):
        self.assertIn('\x1b[31mfailed\x1b[0m', self.on_terminal('ls', '--prefix', 'no'))
        self.assertNotIn('\x1b', self.on_terminal('ls', '--prefix', 'no', NO_COLOR='1'))

    def test_stats_nodes_topics(self):
        one, two = self.both('stats')
        self.assertEqual(one['unfinished'], two['unfinished'])
        self.assertRegex(self.dtm('stats'), r'unfinished +\d+')
        self.assertRegex(self.dtm('stats'), r'saga +succeed +\d+')
        nodes = json.loads(self.dtm('nodes', '--json'))['nodes']
        self.assertEqual([node['self'] for node in nodes], [True])
        self.assertIn('this one', self.dtm('nodes'))
        self.assertIn('its log is there', self.on_file('nodes'))
        one, two = self.both('topics')
        self.assertEqual(one, two)
        self.assertEqual(one['topics'][0]['topic'], 'news')
        self.assertRegex(self.dtm('topics'), r'news +' + self.bank + '/ok')

    def test_unsubscribe_by_the_url_that_is_shown(self):
        for user in ('ann:secret', 'bob:secret'):
            self.ask('subscribe?topic=private&url=' + urllib.parse.quote(f'http://{user}@h/1'), b'')
        self.ask('subscribe?topic=private&url=' + urllib.parse.quote('http://ann:secret@h/2'), b'')
        self.assertRegex(self.dtm('topics'), r'private +http://\*\*\*@h/2')
        self.assertIn('do not go to http://***@h/2', self.dtm('unsubscribe', 'private', 'http://***@h/2'))
        self.refused('2 subscribers.*are shown as .*whole url', 1, '--url', self.url, 'unsubscribe', 'private', 'http://***@h/1', DTM_TOKEN=TOKEN)
        told = json.loads(self.dtm('unsubscribe', 'private', 'http://ann:secret@h/1', '--json'))
        self.assertEqual(told, {'topic': 'private', 'url': 'http://***@h/1', 'done': 'unsubscribe'})
        self.dtm('unsubscribe', 'private', 'http://***@h/1')
        self.refused('this topic is empty', 1, '--url', self.url, 'unsubscribe', 'private', 'http://***@h/1', DTM_TOKEN=TOKEN)
        self.refused('no such a topic', 1, '--url', self.url, 'unsubscribe', 'none\x1b[31m', 'http://h/1', DTM_TOKEN=TOKEN)
        self.refused('is only looked into', 1, '--file', self.file, 'unsubscribe', 'private', 'http://h/1')
        self.refused('it may or may not be done', 3, '--url', 'http://127.0.0.1:1', 'unsubscribe', 'private', 'http://h/1')

    # ---- one transaction

    def test_show(self):
        for text in (self.dtm('show', 'bad-1'), self.on_file('show', 'bad-1')):
            self.assertRegex(text, r'status +submitted')
            self.assertRegex(text, r'01 +action +prepared')
            self.assertRegex(text, r'last error +.*the disk of the bank is full')
            self.assertNotIn('"secret"', text)
        one, two = self.both('show', 'good')
        self.assertEqual(one, two)
        self.assertEqual(one['transaction']['status'], 'succeed')
        self.assertIn('{"secret":"payload"}', self.dtm('show', '--payloads', 'good'))

    def test_unknown_gids_end_with_1(self):
        for command in ('show', 'watch', 'export', 'retry', 'cancel', 'stop'):
            done = self.run_tool('--url', self.url, command, 'nobody', DTM_TOKEN=TOKEN)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn("has no transaction 'nobody'", done.stderr)
        done = self.run_tool('--url', self.url, '--json', 'show', 'nobody', DTM_TOKEN=TOKEN)
        self.assertIn('nobody', json.loads(done.stdout)['error'])

    def test_watch_until_it_ends(self):
        self.submit('watched', '/ok', path='prepare')
        process = subprocess.Popen([DTM, '--url', self.url, 'watch', 'watched', '--json'], text=True, stdout=subprocess.PIPE,
                                   env={**ENVIRONMENT, 'DTM_TOKEN': TOKEN})
        self.submit('watched', '/ok')
        out, _ = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(lines[-1], {'gid': 'watched', 'status': 'succeed'})
        self.assertIn('it is succeed', self.dtm('watch', 'good'))
        self.assertIn('it is succeed', self.on_file('watch', 'good'))

    def test_retry_cancel_stop_with_who_and_why(self):
        for gid in ('change-1', 'change-2'):
            self.submit(gid, '/bad')
        self.assertEqual(json.loads(self.dtm('retry', 'change-1', '--because', 'the disk was changed', '--json'))['done'], 'retry')
        self.assertRegex(self.dtm('cancel', 'change-1', '--who', 'ann', '--because', 'a customer asked'), r'^done; change-1 is (aborting|failed)\n$')
        self.until('change-1', 'failed')
        self.assertEqual(self.dtm('stop', 'change-2', '--because=enough'), 'done; change-2 is failed\n')
        self.dtm('stop', 'change-2', ends=1)  # it has ended
        self.assertEqual(self.query('change-1').get('rollback_reason'), 'a customer asked')
        entries = self.ask('timeline?gid=change-1')['entries']
        cancelled = [entry for entry in entries if entry['kind'] == 'cancel'][0]
        self.assertEqual((cancelled['who'], cancelled['text']), ('ann', 'a customer asked'))

    def test_skip_needs_a_reason(self):
        self.refused('skip needs --because', 2, '--url', self.url, 'skip', 'bad-1', '01', 'action', DTM_TOKEN=TOKEN)
        self.refused('skip needs BRANCH', 2, '--url', self.url, 'skip', 'bad-1')

    def test_skip(self):
        self.submit('skipped', '/bad')
        self.until_error('skipped')
        told = json.loads(self.dtm('skip', 'skipped', '01', 'action', '--because', 'paid by hand', '--who', 'ann', '--json'))
        self.assertEqual((told['gid'], told['done']), ('skipped', 'skip'))
        self.until('skipped', 'succeed')
        repair = [entry for entry in self.ask('timeline?gid=skipped')['entries'] if entry['kind'] == 'repair'][0]
        self.assertEqual((repair['who'], repair['text']), ('ann', 'paid by hand'))
        self.assertRegex(self.dtm('show', 'skipped'), r'skipped by ann: paid by hand')
        self.assertRegex(self.on_file('show', 'skipped'), r'skipped by ann: paid by hand')
        self.dtm('skip', 'good', '01', 'action', '--because', 'again', ends=1)

    def test_export(self):
        document = json.loads(self.dtm('export', 'no'))
        self.assertIn('payload', json.dumps(document))
        redacted = self.dtm('export', 'no', '--redacted', '--json')
        self.assertEqual(redacted.count('\n'), 1)
        self.assertNotIn('no money', redacted)
        self.assertEqual(document.pop('settings')['retry_interval_us'], 10000000)
        self.assertEqual(json.loads(self.on_file('export', 'no')), document)  # whose coordinator had settings that nobody knows here

    def test_a_file_is_shown_with_all_that_it_keeps(self):
        """Not with as much as a coordinator keeps by default."""
        file = str(self.folder / 'long.db')
        server = subprocess.Popen([SERVER, '--db', file, '--listen', '127.0.0.1:0', '--history', '50'], text=True, cwd=self.folder,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        self.addCleanup(lambda: (server.kill(), server.communicate()))
        url = re.search(r'http://[^/]+', server.stdout.readline())[0] + '/api/dtmsvr/'

        def ask(path, **body):
            request = urllib.request.Request(url + path, json.dumps(body).encode() if body else None)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)

        ask('submit', gid='long', trans_type='saga', steps=[{'action': self.bank + '/bad', 'compensate': ''}], payloads=[''])
        deadline = time.monotonic() + 30
        # Asked once an attempt: what is asked meanwhile is a decision in the journal too, which keeps only so many.
        while len(attempts := ask('timeline?gid=long')['attempts']) < 40 or attempts[-1]['outcome'] == 'running':
            self.assertLess(time.monotonic(), deadline)
            if attempts and attempts[-1]['outcome'] != 'running':
                ask('resetNextCronTime', gid='long')
        shown = json.loads(self.on_file('show', 'long', '--json', file=file))
        self.assertEqual(len(shown['attempts']), len(attempts))
        self.assertNotIn('gap', [entry['kind'] for entry in shown['entries']])

    # ---- a file

    def test_what_would_change_a_file_is_refused(self):
        before = folder_bytes(self.folder)
        for arguments in (['retry', 'bad-1'], ['cancel', 'bad-1'], ['stop', 'bad-1'], ['skip', 'bad-1', '01', 'action', '--because', 'x']):
            done = self.refused('is only looked into: name the coordinator that has it with --url', 1, '--file', self.file, *arguments)
            self.assertEqual(done.stdout, '')
        self.assertEqual(set(before), set(folder_bytes(self.folder)))

    def test_looking_changes_nothing(self):
        folder = self.folder / 'copy'
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder)
        self.on_file('backup', str(folder / 'c.db'))
        before = folder_bytes(folder)
        for arguments in (['ls'], ['show', 'good'], ['stats'], ['topics'], ['nodes'], ['export', 'good'], ['watch', 'good']):
            self.on_file(*arguments, file=str(folder / 'c.db'))
        self.on_file('doctor', file=str(folder / 'c.db'))
        os.chmod(folder, 0o500)
        self.on_file('show', 'good', file=str(folder / 'c.db'))
        os.chmod(folder, 0o700)
        self.assertEqual(folder_bytes(folder), before)

    def test_backup_while_it_runs(self):
        copy = self.folder / 'backup.db'
        self.addCleanup(copy.unlink)
        told = json.loads(self.on_file('backup', 'backup.db', '--json'))
        self.assertEqual(told['bytes'], copy.stat().st_size)
        self.assertEqual(stat.S_IMODE(copy.stat().st_mode), 0o600)
        gids = [each['gid'] for each in json.loads(self.on_file('ls', '--json', file=str(copy)))['transactions']]
        self.assertIn('good', gids)
        self.assertEqual(told['transactions'], len(gids))
        bytes_before = copy.read_bytes()
        self.refused('backup.db.*name a file that is not there', 1, '--file', self.file, 'backup', 'backup.db')
        self.assertEqual(copy.read_bytes(), bytes_before)
        self.refused('backup needs --file', 2, '--url', self.url, 'backup', 'x.db')
        again = subprocess.Popen([SERVER, '--db', str(copy), '--listen', '127.0.0.1:0'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT)
        self.assertIn('is ready', again.stdout.readline())  # a coordinator goes on with it
        again.terminate()
        again.communicate(timeout=20)
        for leftover in ('backup.db-lock', 'backup.db-wal', 'backup.db-shm'):
            (self.folder / leftover).unlink(missing_ok=True)

    def test_after_a_crash_the_log_is_read_and_left(self):
        folder = self.folder / 'crash'
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder)
        server = subprocess.Popen([SERVER, '--db', str(folder / 'c.db'), '--listen', '127.0.0.1:0'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT)
        url = re.search(r'http://[^/]+', server.stdout.readline())[0]
        body = {'gid': 'crashed', 'trans_type': 'saga', 'payloads': ['1'], 'steps': [{'action': self.bank + '/bad', 'compensate': ''}]}
        urllib.request.urlopen(f'{url}/api/dtmsvr/submit', json.dumps(body).encode(), timeout=10).close()
        server.send_signal(signal.SIGKILL)
        server.communicate(timeout=20)
        before = folder_bytes(folder)
        self.assertIn('crashed', self.on_file('ls', file=str(folder / 'c.db')))
        self.assertIn('has crashed', self.on_file('doctor', file=str(folder / 'c.db')))
        self.assertEqual(folder_bytes(folder), before)
        (folder / 'c.db-shm').unlink()
        self.refused('c.db-shm.*is missing', 1, '--file', str(folder / 'c.db'), 'ls')

    def test_files_that_are_no_stores(self):
        self.refused("none.db' is not there", 1, '--file', 'none.db', 'ls')
        (self.folder / 'text.db').write_text('x' * 5000)
        self.refused('text.db.*is no SQLite database', 1, '--file', 'text.db', 'ls')
        other = sqlite3.connect(self.folder / 'other.db')
        other.execute('CREATE TABLE x (y)')
        other.close()
        self.refused('has no tables of dtm', 1, '--file', 'other.db', 'ls')
        self.on_file('backup', 'newer.db')
        newer = sqlite3.connect(self.folder / 'newer.db')
        newer.execute("UPDATE dtm_meta SET value = 99 WHERE key = 'schema_version'")
        newer.commit()
        newer.close()
        self.refused('schema version 99.*use the newer dtm', 1, '--file', 'newer.db', 'ls')
        for leftover in ('text.db', 'other.db', 'newer.db'):
            (self.folder / leftover).unlink()

    def test_a_file_of_an_older_dtm_is_read_as_it_is(self):
        folder = self.folder / 'older'
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder)
        path = folder / 'old.db'
        self.on_file('backup', str(path))
        for version, change in ((5, 'DROP TABLE dtm_journal; ALTER TABLE dtm_trans DROP COLUMN journal'), (4, 'DROP TABLE dtm_step'), (3, 'DROP TABLE dtm_gids'),
                                (2, ''), (1, 'DROP TABLE dtm_kv')):
            db = sqlite3.connect(path)
            db.executescript(f"{change}; UPDATE dtm_meta SET value = {version} WHERE key = 'schema_version'")
            db.close()
            before = folder_bytes(folder)
            for command in (['ls', '--errors'], ['show', 'bad-1'], ['watch', 'good'], ['stats'], ['topics'], ['nodes'], ['export', 'good'], ['ls', '--target', '/bad']):
                text = self.on_file(*command, file=str(path))
                if command[0] in ('ls', 'show'):
                    self.assertIn('bad-1', text)
            self.assertIn(f'version {version}, of an older dtm; it is read as it is', self.on_file('doctor', file=str(path)))
            self.on_file('backup', str(folder / 'copy.db'), file=str(path))
            copy = sqlite3.connect(folder / 'copy.db')
            self.assertEqual(copy.execute("SELECT value FROM dtm_meta WHERE key = 'schema_version'").fetchone(), (version,))
            copy.close()
            (folder / 'copy.db').unlink()
            self.assertEqual(folder_bytes(folder), before)

    # ---- doctor

    def test_doctor(self):
        one = json.loads(self.dtm('doctor', '--json'))
        two = json.loads(self.on_file('doctor', '--json'))
        levels = {check['name']: check['level'] for check in one['checks']}
        self.assertEqual(levels['clock'], 'ok')
        self.assertEqual(levels['version'], 'ok')
        self.assertEqual(levels['errors'], 'warning')
        self.assertTrue({'file', 'schema', 'integrity', 'disk', 'log'} <= {check['name'] for check in two['checks']})
        self.assertTrue(any('bad-1' in detail for check in one['checks'] for detail in check['details']))
        self.assertRegex(self.dtm('doctor'), r'warning +errors +\d+ of the unfinished had an error')

    def test_a_bundle_has_nothing_private(self):
        for arguments in (['--url', self.url], ['--file', self.file]):
            bundle = self.folder / 'bundle.json'
            done = self.run_tool(*arguments, 'doctor', '--bundle', str(bundle), DTM_TOKEN=TOKEN)
            self.assertEqual(done.returncode, 0, done)
            text = bundle.read_text()
            self.assertIn('bad-1', json.dumps(json.loads(text)['transactions']))
            for private in ('secret', 'hidden', 'disk of the bank', '4711', 'Basic', TOKEN):
                self.assertNotIn(private, text)
            self.assertEqual(stat.S_IMODE(bundle.stat().st_mode), 0o600)
            done = self.run_tool(*arguments, 'doctor', '--bundle', str(bundle), DTM_TOKEN=TOKEN)
            self.assertEqual(done.returncode, 1, done)  # not written over
            bundle.unlink()

    def test_a_damaged_file_is_a_problem(self):
        self.on_file('backup', 'damaged.db')
        path = self.folder / 'damaged.db'
        self.addCleanup(path.unlink)
        content = bytearray(path.read_bytes())
        content[-4096:] = os.urandom(4096)
        path.write_bytes(content)
        done = self.run_tool('--file', str(path), 'doctor', '--json')
        if done.returncode == 1 and 'checks' in done.stdout:
            levels = {check['name']: check['level'] for check in json.loads(done.stdout)['checks']}
            self.assertEqual(levels['integrity'], 'problem')
        self.assertNotEqual(done.returncode, 2)

    # ---- the command line

    def test_wrong_command_lines_end_with_2(self):
        for sentence, arguments in (("there is no command 'lss'", ['lss']), ('name a command', []), ("'--nope' is not known", ['ls', '--nope']),
                                    ("'-x' is not known", ['-x']), ('show needs GID', ['show']), ("'b' is too much for show", ['show', 'a', 'b']),
                                    ('--limit needs a value', ['ls', '--limit']), ('--limit is .x', ['ls', '--limit', 'x']),
                                    ('--limit is .0', ['ls', '--limit', '0']), ('--older is .1y', ['ls', '--older', '1y']),
                                    ('--status is .done.*one of: prepared', ['ls', '--status', 'done']), ('--json takes no value', ['ls', '--json=1']),
                                    ('--completion is .fish', ['--completion', 'fish']), ('not both', ['ls', '--file', 'a', '--url', 'http://b']),
                                    ('--url.* does not start with http', ['ls', '--url', 'b']), ('no token has', ['ls', '--token', 'a b']),
                                    ("'--payloads' is not known to ls", ['ls', '--payloads'])):
            with self.subTest(arguments):
                self.refused(sentence, 2, *arguments)

    def test_no_connection_ends_with_3(self):
        self.refused('gave no answer.*is it running', 3, '--url', 'http://127.0.0.1:1', 'ls')
        self.refused('gave no answer', 3, '--url', 'http://127.0.0.1:1', 'stop', 'g')
        done = self.run_tool('--url', 'http://127.0.0.1:1', 'ls', '--json')
        self.assertIn('error', json.loads(done.stdout))

    def test_without_its_token_it_is_refused(self):
        self.refused('it needs a token: --token or DTM_TOKEN', 1, '--url', self.url, 'ls')
        self.refused('it needs a token', 1, '--url', self.url, '--token', 'wrong', 'ls')
        done = self.run_tool('ls', '--token', TOKEN, DTM_URL=self.url)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.run_tool('ls', '--url', self.url + '/api/dtmsvr/', DTM_TOKEN=TOKEN).returncode, 0)

    def test_what_wants_to_harm_a_terminal_does_not(self):
        self.refused('', 1, '--url', self.url, 'show', HOSTILE, DTM_TOKEN=TOKEN)
        for arguments in (['show', HOSTILE], [HOSTILE], ['ls', '--' + HOSTILE], ['ls', '--prefix', HOSTILE], ['show', 'no'], ['ls', '--prefix', 'no']):
            done = self.run_tool('--url', self.url, *arguments, DTM_TOKEN=TOKEN)
            for harm in ('\x1b', '\x07', '\x9b', '\u202e'):
                self.assertNotIn(harm, done.stdout + done.stderr, arguments)

    def test_a_hostile_store_shows_harmless(self):
        self.on_file('backup', 'hostile.db')
        path = self.folder / 'hostile.db'
        self.addCleanup(path.unlink)
        db = sqlite3.connect(path)
        db.execute('UPDATE dtm_trans SET gid = ? WHERE gid = ?', (HOSTILE, 'bad-1'))
        db.execute('UPDATE dtm_kv SET k = ? WHERE k = ?', (HOSTILE, 'news'))
        db.commit()
        db.close()
        for arguments in (['ls'], ['show', HOSTILE], ['topics'], ['doctor'], ['nodes']):
            done = self.run_tool('--file', str(path), *arguments)
            self.assertIn(done.returncode, (0, 1), done)
            for harm in ('\x1b', '\x07', '\x9b', '\u202e'):
                self.assertNotIn(harm, done.stdout + done.stderr, arguments)
        self.assertIn('<script>', self.on_file('ls', file=str(path)))

    # ---- documents

    def test_help_and_version(self):
        text = self.run_tool('--help').stdout
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        commands = re.findall(r'^  ([a-z]+) ', text.split('Options')[0], re.MULTILINE)
        self.assertIn('doctor', commands)
        for command in commands:
            if command == 'dtm':
                continue
            done = self.run_tool(command, '--help')
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            self.assertIn(f'dtm {command}', done.stdout)
        self.assertRegex(self.run_tool('--version').stdout, r'^dtm \d+\.\d+\.\d+\n$')

    def test_the_manual_page(self):
        page = self.folder / 'dtm.1'
        page.write_text(self.run_tool('--man').stdout)
        self.addCleanup(page.unlink)
        if shutil.which('groff'):
            done = subprocess.run(['groff', '-man', '-ww', '-z', '-Tutf8', str(page)], capture_output=True, text=True, timeout=20)
            self.assertEqual((done.returncode, done.stderr), (0, ''))
        if shutil.which('mandoc'):
            done = subprocess.run(['mandoc', '-Tlint', '-Wwarning', str(page)], capture_output=True, text=True, timeout=20)
            self.assertEqual(done.stdout, '')
        for command in ('ls', 'doctor', 'skip'):
            self.assertIn(f'.SS dtm {command}', page.read_text())

    def completed(self, line):
        script = ('source <("$1" --completion bash); COMP_WORDS=(' + line + '); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _dtm; echo "${COMPREPLY[@]}"')
        done = subprocess.run(['bash', '-eu', '-c', script, 'bash', DTM], capture_output=True, text=True, timeout=20, env=ENVIRONMENT)
        self.assertEqual((done.returncode, done.stderr), (0, ''), done)
        return done.stdout.split()

    def test_completion_of_bash(self):
        self.assertEqual(self.completed('dtm do'), ['doctor'])
        self.assertEqual(self.completed('dtm ls --st'), ['--stuck', '--status'])
        self.assertEqual(self.completed('dtm ls --status su'), ['succeed', 'submitted'][::-1])
        self.assertEqual(self.completed('dtm skip g 01 action --bec'), ['--because'])
        self.assertEqual(self.completed('dtm --completion ""'), ['bash', 'zsh'])

    def test_completion_of_zsh(self):
        script = self.run_tool('--completion', 'zsh').stdout
        self.assertTrue(script.startswith('#compdef dtm\n'))
        if shutil.which('zsh'):
            done = subprocess.run(['zsh', '-n', '-c', script], capture_output=True, text=True, timeout=20)
            self.assertEqual((done.returncode, done.stderr), (0, ''))


unittest.main()
