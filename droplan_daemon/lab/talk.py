"""Chatty connections: the kind that notices when a firewall changes its mind.

Laws:
1. A service is silent until spoken to; from then on both ends talk without pause.
2. Each end notes how much it heard and when it heard the last of it (`time.monotonic()`).

Knows namespaces, addresses and ports; not who may talk to whom.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from .probe import Question, connect, quiet_since

if TYPE_CHECKING:
    from .netns import Namespace

_RHYTHM = 0.002
"""Seconds between two words."""

_WORD = b"hello, this is the lab talking; "


class Talker(asyncio.Protocol):
    """One end of a chatty connection: hears, and after the first word talks without pause.

    `heard` counts bytes, `last` is the moment of the latest of them, `longest_silence` the
    longest time between two, in seconds.
    """

    def __init__(self, *, begins: bool) -> None:
        self.heard = 0
        self.last: float | None = None
        self.longest_silence = 0.0
        self.over = asyncio.Event()
        self.spoken_to = asyncio.Event()
        self._begins = begins
        self._talking = False
        self._paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to talk, if it is ours to begin."""
        self._transport = cast("asyncio.Transport", transport)
        if self._begins:
            self._begin()

    def data_received(self, data: bytes) -> None:
        """Note it, and answer from now on."""
        now = time.monotonic()
        self.longest_silence = max(self.longest_silence, now - (self.last or now))
        self.heard, self.last = self.heard + len(data), now
        self.spoken_to.set()
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - either way it is over
        """There will be nothing more to hear."""
        self.over.set()

    def pause_writing(self) -> None:
        """Hold the tongue: the other end does not take it in."""
        self._paused = True

    def resume_writing(self) -> None:
        """Talk again."""
        self._paused = False

    def hang_up(self) -> None:
        """End the connection with a reset."""
        if self._transport is not None:
            self._transport.abort()

    def _begin(self) -> None:
        if not self._talking:
            self._talking = True
            self._talk()

    def _talk(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if not self._paused:
            self._transport.write(_WORD)
        asyncio.get_running_loop().call_later(_RHYTHM, self._talk)


class Service:
    """A listener on one TCP port of a namespace, on IPv4 and IPv6: silent until spoken to.

    `ears` are its ends of the connections, by the address and port of the other end.
    """

    def __init__(self, machine: "Namespace", port: int) -> None:
        self.ears: dict[tuple[str, int], Talker] = {}
        self.machine = machine
        self.port = port
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        listening = self.machine.listen("::", self.port)
        self._server = await asyncio.get_running_loop().create_server(lambda: _Ear(self.ears), sock=listening)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        for ear in tuple(self.ears.values()):
            ear.hang_up()
        # The transports close their sockets in the loop's next turn.
        await asyncio.sleep(0)


class _Ear(Talker):
    def __init__(self, ears: dict[tuple[str, int], Talker]) -> None:
        super().__init__(begins=False)
        self._ears = ears
        self._other: tuple[str, int] = "", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address, port = transport.get_extra_info("peername")[:2]
        self._other = address.removeprefix("::ffff:"), port
        self._ears[self._other] = self
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ears.pop(self._other, None)
        super().connection_lost(exc)


@dataclass(frozen=True, slots=True)
class Conversation:
    """An open, chatty connection: both ends talk without pause and note what they hear."""

    caller: Talker
    listener: Talker

    async def silent(self, deadline: float, quiet: float = 0.3) -> float:
        """The moment when the listener heard the caller last, once `quiet` seconds passed since.

        Raises TimeoutError when it hears something still after `deadline` seconds.
        """
        async with asyncio.timeout(deadline):
            return await quiet_since(lambda: self.listener.last, quiet)

    def hang_up(self) -> None:
        """End it."""
        self.caller.hang_up()
        self.listener.hang_up()


async def converse(
    origin: "Namespace", address: str, service: Service, patience: float = 2.0
) -> Conversation:
    """Call `service` at `address` and return when both ends have heard each other.

    Raises TimeoutError or another OSError when there is no getting through.
    """
    async with asyncio.timeout(patience):
        connected = await connect(Question(origin, address, service.port))
        source = connected.getsockname()[:2]
        caller = Talker(begins=True)
        await asyncio.get_running_loop().create_connection(lambda: caller, sock=connected)
        await caller.spoken_to.wait()
        return Conversation(caller, service.ears[source])
