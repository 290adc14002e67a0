"""The services that a saga calls: they record every call, check what is the same for all, and answer as the scenario
wants. Needs: dtmcli. Calls come in threads of their own."""
import http.server
import threading
import time
import urllib.parse

from dtmcli import msg, saga, utils

PAYLOADS = [{'amount': 30, 'text': '<ü&>'}, None, 'text', []]

SUCCESS, FAILURE, ONGOING, BROKEN = (200, 'SUCCESS'), (409, 'no money FAILURE'), (425, 'ONGOING'), (500, 'out of order')


def check(good, why):
    if not good:
        raise AssertionError(why)


class Service:
    """Serves the urls /a1, /c1, /a2, ...: action and compensation of step 1, 2, ... Also: /t1 try, /y1 confirm, /n1 cancel
    (/t0101 of a nested branch), /q0 was it committed."""

    def __init__(self, answer=lambda name, nth: SUCCESS):
        """answer: of the nth call (from 1) of that name; may block."""
        self.answer, self.headers, self.inside = answer, {}, None
        self.kind, self.gid, self.payloads = 'saga', None, []
        self.lock, self.calls, self.wrong = threading.Lock(), [], []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                service.serve(self)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        server.daemon_threads = True
        self.url = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def build(self, server, steps):
        """A saga of so many steps. Its urls have a query of their own, which must be kept."""
        built = saga.Saga(server, utils.gen_gid(server))
        for i in range(1, steps + 1):
            built.add(PAYLOADS[(i - 1) % len(PAYLOADS)], f'{self.url}/a{i}?shop=7', f'{self.url}/c{i}?shop=7')
        self.gid, self.payloads = built.trans_base.gid, built.trans_base.payloads
        return built

    def build_msg(self, server, steps):
        message = msg.Msg(server, self.as_kind(server, 'msg'))
        for i in range(1, steps + 1):
            message.add('pay', self.at(f'a{i}'))
        message.trans_base.retry_interval = 1
        return message

    def as_kind(self, server, kind):
        """Of a new gid, which is returned; every branch gets the same payload."""
        self.kind, self.gid, self.payloads = kind, utils.gen_gid(server), ['"pay"'] * 3
        return self.gid

    def at(self, name):
        return f'{self.url}/{name}?shop=7'

    def serve(self, request):
        body = request.rfile.read(int(request.headers.get('Content-Length', 0))).decode()
        path, _, query = request.path.partition('?')
        name, query = path[1:], dict(urllib.parse.parse_qsl(query))
        with self.lock:
            self.calls.append(name)
            nth = self.calls.count(name)
            self.wrong += [f'{name}: {problem}' for problem in self.problems(name, request, query, body)]
        status, text = self.answer(name, nth)
        if status == 200 and self.inside:
            self.inside(name, query)
        try:
            request.send_response(status)
            request.send_header('Content-Length', str(len(text)))
            request.end_headers()
            request.wfile.write(text.encode())
        except OSError:
            request.close_connection = True  # the caller was killed meanwhile

    def problems(self, name, request, query, body):
        step, asked = int(name[-1]), name[0] == 'q'
        ops = {'a': 'action', 'c': 'compensate', 't': 'try', 'y': 'confirm', 'n': 'cancel', 'q': 'msg'}
        expected = {'gid': self.gid, 'trans_type': self.kind, 'branch_id': name[1:].zfill(2), 'op': ops[name[0]], 'shop': '7'}
        query = {key: value for key, value in query.items() if key != 'dtm'}  # the client says it where it calls by itself
        content_type = request.headers['Content-Type']
        for what, got, want in [('method', request.command, 'GET' if asked else 'POST'), ('query', query, expected),
                                ('body', body, '' if asked else self.payloads[step - 1]),
                                ('Content-Type', asked or content_type, asked or 'application/json'),
                                *((header, request.headers[header], value) for header, value in self.headers.items())]:
            if got != want:
                yield f'{what} is {got!r} and should be {want!r}'

    def expect(self, *any_of):
        """The calls came like one of these, and nothing was wrong about them."""
        with self.lock:
            calls = ' '.join(self.calls)
            check(calls in any_of, f'calls are {calls} and should be {any_of}')
            check(not self.wrong, self.wrong)

    def called(self, name, within):
        """Waits until the name has been called."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            with self.lock:
                if name in self.calls:
                    return True
            time.sleep(0.005)
        return False
