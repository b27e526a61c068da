"""One TCP connection of the emulation: requests in, answers out, through h11.

Law: HTTP/1.1 as it should be, except where a delivery asks for one exact way of breaking it;
after that the connection ends.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from .delivery import WHOLE, Abort, Hang, Wait, Whole, steps
from .messages import Request, Response
from .problems import bad_request

if TYPE_CHECKING:
    from .delivery import Delivery

_READ = 65_536
_LARGEST_BODY = 2**20


class Connection:
    """One TCP connection, and what h11 knows of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.SERVER)

    async def receive(self, scheme: str) -> Request | None:
        """The next request; None: there will be none."""
        try:
            head = await self._event()
            if not isinstance(head, h11.Request):
                return None
            return self._request(head, await self._body(), scheme)
        except h11.RemoteProtocolError:
            await self._write(bad_request("This is no HTTP request."), WHOLE)
            return None

    async def _event(self) -> object:
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            if self._protocol.they_are_waiting_for_100_continue:
                await self._write_event(h11.InformationalResponse(status_code=100, headers=[]))
            self._protocol.receive_data(await self._reader.read(_READ))
        return event

    async def _body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > _LARGEST_BODY:
                raise h11.RemoteProtocolError("body too large", 413)
        return bytes(body)

    def _request(self, head: h11.Request, body: bytes, scheme: str) -> Request:
        target = urlsplit(head.target.decode("ascii", "replace"))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        peer = self._writer.get_extra_info("peername")
        return Request(
            method=head.method.decode("ascii"),
            path=unquote(target.path),
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers=headers,
            body=body,
            client=str(peer[0]) if peer else "",
            base=f"{scheme}://{headers.get('host', '127.0.0.1')}",
        )

    async def send(self, answer: Response) -> bool:
        """Send an answer; whether another may follow on this connection."""
        if not isinstance(answer.delivery, Whole):
            await self._write(answer, answer.delivery)
            return False
        await self._send_whole(answer)
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        self._protocol.start_next_cycle()
        return True

    async def _send_whole(self, answer: Response) -> None:
        content = answer.content()
        headers = {**answer.head(), "content-length": str(len(content))}
        if answer.status in {204, 304}:
            del headers["content-length"]
        await self._write_event(h11.Response(status_code=answer.status, headers=list(headers.items())))
        if content:
            await self._write_event(h11.Data(data=content))
        await self._write_event(h11.EndOfMessage())

    async def _write_event(self, event: h11.Event) -> None:
        self._writer.write(self._protocol.send(event) or b"")
        await self._writer.drain()

    async def _write(self, answer: Response, delivery: "Delivery") -> None:
        for step in steps(delivery, answer.status, answer.head(), answer.content()):
            match step:
                case bytes():
                    self._writer.write(step)
                    await self._writer.drain()
                case Wait(seconds):
                    await asyncio.sleep(seconds)
                case Hang():
                    while await self._reader.read(_READ):
                        pass
                case Abort():
                    self._reset()

    def _reset(self) -> None:
        # Linger for 0 seconds: close(2) then sends RST (socket(7)).
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.abort()

    async def close(self) -> None:
        """End the connection when the client has everything."""
        self._writer.close()
        await self._writer.wait_closed()

    def abort(self) -> None:
        """End the connection now, whatever the client does; nothing happens to one that is closed."""
        # Python 3.11's TLS transport has nothing left to abort after a clean close, and says so.
        with suppress(AttributeError):
            self._writer.transport.abort()
