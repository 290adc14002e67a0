"""Requests to a branch, over connections that are kept.

Needs: nothing but Python. Threads: those of asyncio.
"""
import asyncio
import json


class Requests(asyncio.Protocol):
    """Calls `serve(target, headers, body)` for each: names of headers in small letters, the body as JSON or None."""

    def connection_made(self, transport):
        self.transport, self.data = transport, b''

    def data_received(self, data):
        self.data += data
        while True:
            end = self.data.find(b'\r\n\r\n')
            if end < 0:
                return
            head = self.data[:end].decode('latin-1').split('\r\n')
            headers = {name.lower(): value for name, _, value in (line.partition(': ') for line in head[1:])}
            size = end + 4 + int(headers.get('content-length', 0))
            if len(self.data) < size:
                return
            body, self.data = self.data[end + 4:size], self.data[size:]
            self.serve(head[0].split(' ')[1], headers, json.loads(body) if body else None)
