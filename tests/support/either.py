"""Stands before several servers, and gives each request to one of them by chance: what a client does at one address then
happens at any node. Needs: nothing. Threads: one of its own.
"""
import asyncio
import random
import threading


class Gone(Exception):
    """The other side has closed the connection."""


async def message(reader, is_reply, to_head=False):
    """A request or a reply as it is on the wire, whether more may follow, and the method."""
    try:
        head = await reader.readuntil(b'\r\n\r\n')
        lines = head.decode('latin-1').split('\r\n')
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines[1:])}
        first = lines[0].split(' ')
        body, length = b'', fields.get('content-length')
        without = is_reply and (to_head or first[1] in ('204', '304'))
        if not without and 'chunked' in fields.get('transfer-encoding', '').lower():
            while True:
                size = await reader.readuntil(b'\r\n')
                number = int(size.split(b';')[0], 16)
                body += size + await reader.readexactly(number + 2)
                if number == 0:
                    break
        elif not without and length is not None:
            body = await reader.readexactly(int(length))
        elif not without and is_reply:
            body = await reader.read()
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Gone from error
    stays = 'close' not in fields.get('connection', '').lower() and (first[0] if is_reply else first[-1]) == 'HTTP/1.1'
    return head + body, stays, first[0]


class Either:
    """Forwards from `port` (0: any) to the ports `to`. Used with `with`; `counts` says how many requests each got."""

    def __init__(self, to, seed, port=0):
        self.to, self.random, self.port = to, random.Random(seed), port
        self.counts = [0] * len(to)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.listen(), self.loop).result(10)
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def end(self):
        """Of connections that clients keep."""
        self.server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def listen(self):
        self.server = await asyncio.start_server(self.serve, '127.0.0.1', self.port, backlog=1000)
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        """One connection of a client, with one of its own to each server that it has met."""
        behind = {}
        try:
            while True:
                request, stays, method = await message(reader, False)
                which = self.random.randrange(len(self.to))
                self.counts[which] += 1
                if which in behind and behind[which][0].at_eof():  # it was closed while nothing was asked
                    behind.pop(which)[1].close()
                if which not in behind:
                    behind[which] = await asyncio.open_connection('127.0.0.1', self.to[which])
                behind[which][1].write(request)
                reply, stays_behind, _ = await message(behind[which][0], True, method == 'HEAD')
                writer.write(reply)
                await writer.drain()
                if not stays_behind:
                    behind.pop(which)[1].close()
                if not stays or not stays_behind:  # the reply said so
                    return
        except (Gone, OSError, asyncio.CancelledError):  # then the client sees the same
            pass
        finally:
            for each in (writer, *(pair[1] for pair in behind.values())):
                each.close()
