#!/usr/bin/env python3
"""dtm-server on a database that several share, as its users meet it: two of them, a crash, passwords, and every way to start
it wrong. What it never does: show a password.

Usage: tools/with_postgres.sh [tools/with_mariadb.sh] shared_test.py PATH_OF_dtm-server
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest
import urllib.request

sys.dont_write_bytecode = True
import program_test  # pylint: disable=wrong-import-position  # it takes the path from the command line

SECRET = 'Ach-7wei/geheim'
CONNINFO = os.environ['DTM_POSTGRES']
PORT = re.search(r'port=(\d+)', CONNINFO)[1]
SOCKET = re.search(r'host=(\S+)', CONNINFO)[1]


def sql(text, database='postgres'):
    done = subprocess.run(['psql', '-qAtX', '-v', 'ON_ERROR_STOP=1', CONNINFO + ' dbname=' + database], input=text, text=True,
                          capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


def url(user='dtm', database='postgres', port=PORT):
    return f'postgres://{user}@127.0.0.1:{port}/{database}'


class Kit(unittest.TestCase):
    setUp, start, silent = program_test.ProgramTest.setUp, program_test.ProgramTest.start, program_test.ProgramTest.silent
    def refused(self, sentence, *arguments, **environment):
        """As there, and no part of the password is said."""
        done = subprocess.run([program_test.PROGRAM, '--listen', '127.0.0.1:0', *arguments], cwd=self.folder, text=True,
                              capture_output=True, timeout=20, env={**program_test.ENVIRONMENT, **environment}, check=False)
        said = done.stdout + done.stderr
        for part in re.split('[-/]', SECRET):
            self.assertNotIn(part, said)
        self.assertEqual((done.returncode, done.stdout, done.stderr.count('\n')), (1, '', 1), said)
        self.assertRegex(done.stderr, '^dtm-server: .*' + sentence)

    def bad(self, sentence, store, **environment):
        self.refused(sentence, '--store', store, **environment)

    def drives_what_a_dead_one_drove(self, store, kind, owner_of):
        first, second = self.start('--store', store), self.start('--store', store)
        body = {'gid': 'g1', 'trans_type': 'saga', 'payloads': ['1'], 'retry_interval': 1,
                'steps': [{'action': self.silent(), 'compensate': ''}]}
        self.assertEqual(first.ask('/api/dtmsvr/submit', body)[0], 200)
        self.assertEqual(second.ask('/api/dtmsvr/query?gid=g1')[1]['transaction']['status'], 'submitted')
        with urllib.request.urlopen(first.url + '/api/metrics', timeout=10) as answer:
            self.assertRegex(answer.read().decode(), r'dtm_server_info\{version="[^"]*",store="' + kind + r'"\} 1')
        owner = owner_of('g1')
        first.stop(signal.SIGKILL)
        begin = time.monotonic()
        while owner_of('g1') == owner:
            self.assertLess(time.monotonic() - begin, 20)
            time.sleep(0.05)
        self.assertEqual(second.stop(), (0, '', ''))


class PostgresTest(Kit):
    databases = 0

    @classmethod
    def setUpClass(cls):
        sql(f"CREATE ROLE secretive LOGIN PASSWORD '{SECRET}'; CREATE ROLE guest LOGIN")
        # For one user a password is asked; the others are trusted.
        rules = pathlib.Path(os.environ['DTM_POSTGRES_DATA']) / 'pg_hba.conf'
        rules.write_text('host all secretive 127.0.0.1/32 scram-sha-256\n' + rules.read_text())
        sql('SELECT pg_reload_conf()')
        for _ in range(500):
            if subprocess.run(['psql', '-wqX', f'host=127.0.0.1 port={PORT} user=secretive dbname=postgres', '-c', ''],
                              capture_output=True, check=False).returncode:
                return
            time.sleep(0.01)
        raise AssertionError('the rules of the server do not change')

    def database(self, more=''):
        PostgresTest.databases += 1
        name = f'shared{PostgresTest.databases}'
        sql(f'CREATE DATABASE {name} {more}')
        return name

    def test_another_drives_what_a_dead_one_drove(self):
        name = self.database()
        self.drives_what_a_dead_one_drove(url(database=name), 'postgres',
                                          lambda gid: sql(f"SELECT owner FROM dtm_trans WHERE gid = '{gid}'", name))

    def test_passwords(self):
        name = self.database('OWNER secretive')
        sql('ALTER SCHEMA public OWNER TO secretive', name)
        store = url('secretive', name)
        passwords = self.folder / 'passwords'
        passwords.write_text(f'127.0.0.1:{PORT}:*:secretive:{SECRET}\n')
        passwords.chmod(0o600)
        whole = store.replace('secretive@', 'secretive:' + SECRET.replace('/', '%2F') + '@')
        for arguments, environment in ((['--store', store], {'PGPASSWORD': SECRET}), (['--store', store], {'PGPASSFILE': str(passwords)}),
                                       ([], {'STORE_URL': whole})):
            server = self.start(*arguments, **environment)
            self.assertNotIn('geheim', server.line)
            self.assertEqual(server.stop(), (0, '', ''))
        for given in (whole, store + '?password=' + SECRET.replace('/', '%2F'),
                      f"host=127.0.0.1 port={PORT} user=secretive dbname={name} password='{SECRET}'"):
            self.bad('there is a password in --store.*PGPASSWORD', given)
        for environment in ({}, {'PGPASSWORD': SECRET + 'x'}, {'PGPASSFILE': '/nowhere'}):
            self.bad('store cannot be used: .*password.*; put it into ~/.pgpass', store, **environment)
        # Not encoded, a part of it would be the port, and libpq would show that.
        self.bad('is written as %2F or %40', store.replace('secretive@', f'secretive:{SECRET}@'))
        self.bad('conninfo', f'host=127.0.0.1 password={SECRET} {SECRET}')

    def test_mistakes(self):
        self.bad("begins with 'redis://', .*; write 'postgres://user@host:port/database', .*--db FILE", 'redis://h/1')
        self.bad('is no address of a database; write', 'bank.db')
        self.bad('--store is empty', '')
        self.refused('--db and --store are two stores', '--store', url(), '--db', 'a.db')
        self.refused('--store needs a value', '--store')
        self.bad('no connection to PostgreSQL: .*refused.*; check host and port', url(port=1))
        self.bad('"nothing" does not exist; make it: CREATE DATABASE', url(database='nothing'))
        self.bad('role "nobody" does not exist; name the user', url('nobody'))
        self.bad('permission denied.*; let a user who may create the tables run sql/dtm.store.postgres.sql', url('guest', self.database()))
        self.bad('permission denied for database', url('guest', self.database()), STORE_SCHEMA='of_dtm')
        self.bad('conninfo of libpq', url() + '?nonsense=1')
        self.bad("encoding LATIN1; make one with ENCODING 'UTF8'",
            url(database=self.database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")))
        newer = self.database()
        self.start('--store', url(database=newer)).stop()
        sql("UPDATE dtm_meta SET value = '99' WHERE key = 'schema_version'", newer)
        self.bad("schema version '99', and dtm .* use the newer dtm", url(database=newer))
        for lease in ('0.5', '61', 'soon', '1.2345', '.', '1.2s', '-1'):
            self.bad("Store.Lease is '" + re.escape(lease) + "'; it must be a time in seconds from 0.6 to 60", url(), STORE_LEASE=lease)
        self.bad('Store.Timeout is', url(), STORE_TIMEOUT='0')
        self.refused('never in the tables of the Go server', STORE_DRIVER='postgres')

    def test_a_user_who_may_make_no_tables(self):
        name = self.database()
        tables = (pathlib.Path(__file__).resolve().parents[2] / 'sql' / 'dtm.store.postgres.sql').read_text()
        sql(tables + ';GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest', name)
        server = self.start('--store', url('guest', name))
        body = {'gid': 'g1', 'trans_type': 'saga', 'payloads': ['1'], 'wait_result': True, 'steps': [{'action': '', 'compensate': ''}]}
        self.assertEqual(server.ask('/api/dtmsvr/submit', body)[0], 200)
        self.assertEqual(server.stop(), (0, '', ''))

    def test_settings(self):
        name = self.database()
        (self.folder / 'dtm.yml').write_text(f"Store:\n  Url: '{url(database='nothing')}'\n  Lease: 2.5\n  Timeout: 7\n  Schema: of_dtm\n")
        server = self.start('-c', 'dtm.yml', '--store', url(database=name))
        self.assertEqual(sql("SELECT count(*) FROM of_dtm.dtm_node", name), '1')
        server.stop()
        self.start('-c', 'dtm.yml', '--db', 'bank.db').stop()  # the command line counts
        self.assertTrue((self.folder / 'bank.db').exists())
        server = self.start('--store', url(database=name))
        self.assertRegex(server.line, rf', store PostgreSQL {name} at 127\.0\.0\.1:{PORT}, desk at /desk\n$')
        server = self.start('--store', f'host={SOCKET} port={PORT} user=dtm dbname={name}')
        self.assertIn(f'store PostgreSQL {name} at {SOCKET}:{PORT}', server.line)

    def test_mysql_addresses(self):
        if 'module cannot be loaded' in subprocess.run([program_test.PROGRAM, '--store', 'mysql://a@b/c?x'], text=True, capture_output=True,
                                                  cwd=self.folder, timeout=20, check=False).stderr:
            self.skipTest('built without libmariadb')
        self.bad('names no user; write mysql://', 'mysql://127.0.0.1/dtm')
        self.bad('names no database', 'mysql://dtm@127.0.0.1')
        self.bad("behind the ':' of the host is no port", f'mysql://dtm:{SECRET}')
        self.bad('only socket=/path', 'mysql://dtm@127.0.0.1/dtm?ssl=1')
        self.bad('there is a password in --store.*MYSQL_PWD', 'mysql://dtm:Ach-7wei@127.0.0.1/dtm')
        self.bad('no connection to MySQL at 127.0.0.1, port 1: .*; check host and port', 'mysql://dtm@127.0.0.1:1/dtm', MYSQL_PWD=SECRET)
        self.bad("Store.Schema is PostgreSQL's", 'mysql://dtm@127.0.0.1:1/dtm', STORE_SCHEMA='x')


@unittest.skipUnless('DTM_MYSQL_PORT' in os.environ, 'there is no MariaDB')
class MysqlTest(Kit):
    @classmethod
    def setUpClass(cls):
        cls.sql(f"""CREATE USER secretive@'%' IDENTIFIED BY '{SECRET}'; CREATE USER guest@'%'; CREATE DATABASE of_secretive; CREATE DATABASE bare;
                    CREATE DATABASE newer; GRANT ALL ON of_secretive.* TO secretive@'%'; GRANT SELECT ON bare.* TO guest@'%'""")

    @staticmethod
    def sql(text, database='mysql'):
        done = subprocess.run(['mariadb', '-S', os.environ['DTM_MYSQL_SOCKET'], '-u', os.environ['DTM_MYSQL_USER'], '-N', database],
                              input=text, text=True, capture_output=True, check=False)
        if done.returncode:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    @staticmethod
    def url(user=os.environ.get('DTM_MYSQL_USER'), database=os.environ.get('DTM_MYSQL_DATABASE')):
        return f'mysql://{user}@127.0.0.1:{os.environ["DTM_MYSQL_PORT"]}/{database}'

    def test_another_drives_what_a_dead_one_drove(self):
        database = os.environ['DTM_MYSQL_DATABASE']
        self.drives_what_a_dead_one_drove(self.url(), 'mysql',
                                          lambda gid: self.sql(f"SELECT owner FROM dtm_trans WHERE gid = '{gid}'", database))

    def test_passwords(self):
        store = self.url('secretive', 'of_secretive')
        whole = store.replace('secretive@', 'secretive:' + SECRET.replace('/', '%2F') + '@')
        for arguments, environment in ((['--store', store], {'MYSQL_PWD': SECRET}), ([], {'STORE_URL': whole}),
                                       ([], {'STORE_URL': whole.replace('mysql:', 'mariadb:') + '?socket=' + os.environ['DTM_MYSQL_SOCKET']})):
            server = self.start(*arguments, **environment)
            self.assertIn(', store MySQL of_secretive at ', server.line)
            self.assertNotIn('geheim', server.line)
            self.assertEqual(server.stop(), (0, '', ''))
        self.bad('there is a password in --store.*MYSQL_PWD', whole)
        self.bad('is written as %2F or %40', store.replace('secretive@', f'secretive:{SECRET}@'))
        for environment in ({}, {'MYSQL_PWD': SECRET + 'x'}):
            self.bad('store cannot be used: .*Access denied.*; a password: put it into MYSQL_PWD', store, **environment)

    def test_mistakes(self):
        self.bad('Unknown database .*; make it: CREATE DATABASE nothing', self.url(database='nothing'))
        self.bad('denied.*; let a user who may create the tables run sql/dtm.store.mysql.sql', self.url('guest', 'bare'))
        self.start('--store', self.url(database='newer')).stop()
        self.sql("UPDATE dtm_meta SET value = '99' WHERE name = 'schema_version'", 'newer')
        self.bad("schema version '99', and dtm .* use the newer dtm", self.url(database='newer'))


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0]], verbosity=1)
