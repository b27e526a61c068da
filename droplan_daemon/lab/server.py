"""An HTTP/1.1 server for an Application, on loopback or in a namespace.

Laws:
1. It knows HTTP (through h11), sockets and TLS, and nothing of what it serves.
2. A token is never kept: the log has every header but `authorization`, which it shows as `…`.
3. Leaving the context ends every connection and every task; nothing outlives it.
"""

import asyncio
import socket
import threading
from collections import deque
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from .connection import Connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from .messages import Application, Request

_LONGEST_LOG = 20_000
_PATIENCE = 10.0  # seconds for a thread that has nothing to wait for


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that was answered, and on which connection (they are counted from 1)."""

    method: str
    path: str
    query: "Mapping[str, str]"
    headers: "Mapping[str, str]" = field(repr=False)
    client: str
    connection: int
    status: int


class LabServer:
    """Serves while its context lasts.

    `sock` is a socket to listen on that was made elsewhere (in another network namespace); it
    is closed at the end. `tls` makes it HTTPS. `latency` is added to every answer, in seconds.
    `log` has the last requests, `connections` counts what was accepted, `busiest` is the most
    requests that were in hand at one moment.
    """

    def __init__(
        self,
        application: "Application",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sock: socket.socket | None = None,
        tls: "ssl.SSLContext | None" = None,
        latency: float = 0.0,
    ) -> None:
        self.latency = latency
        self.log: deque[Entry] = deque(maxlen=_LONGEST_LOG)
        self.connections = 0
        self.busiest = 0
        self._application = application
        self._socket = sock or _listener(host, port)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._tls = tls
        self._busy = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens (or did), as a URL without a path."""
        host, port = self.address
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def _scheme(self) -> str:
        return "https" if self._tls else "http"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, sock=self._socket, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server:
            await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._converse(Connection(reader, writer, self.connections)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, connection: Connection) -> None:
        try:
            # A client that goes away in the middle is its own business.
            with suppress(OSError):
                while request := await connection.receive(self._scheme):
                    if not await self._reply(connection, request):
                        break
                await connection.close()
        finally:
            connection.abort()

    async def _reply(self, connection: Connection, request: "Request") -> bool:
        """Answer one request; whether the connection stays open."""
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            answer = self._application.answer(request)
            self._note(connection, request, answer.status)
            await asyncio.sleep(self.latency + answer.delay)
            return await connection.send(answer)
        finally:
            self._busy -= 1

    def _note(self, connection: Connection, request: "Request", status: int) -> None:
        shown = {k: "…" if k == "authorization" else v for k, v in request.headers.items()}
        self.log.append(
            Entry(
                request.method, request.path, request.query, shown, request.client, connection.number, status
            )
        )


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


@contextmanager
def serving(*servers: LabServer) -> "Iterator[None]":
    """Run servers in a thread of their own, for code that has no event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lab", daemon=True)
    thread.start()
    stack = AsyncExitStack()
    try:
        for server in servers:
            asyncio.run_coroutine_threadsafe(stack.enter_async_context(server), loop).result(_PATIENCE)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(_PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE)
        loop.close()
