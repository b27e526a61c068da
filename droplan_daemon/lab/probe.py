"""Questions to a network, answered by real TCP connections.

Laws:
1. A verdict is what a connecting program sees: an answer, a refusal, or silence for so long.
2. Questions are asked at once: silence costs its patience once, not once per question.
3. Moments are `time.monotonic()` seconds, taken when the event loop saw the thing happen.

Knows namespaces, addresses and ports; not who may reach whom.
"""

import asyncio
import errno
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .netns import Namespace

PATIENCE = 1.0
"""Seconds of silence that count as dropped. The second SYN would leave after one second."""

# SO_LINGER with zero seconds: close() resets, so that thousands of knocks leave no TIME_WAIT behind.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Verdict(StrEnum):
    """What came of a connection attempt; the value is what the tables print."""

    OPEN = "open"
    DROPPED = "drop"
    REFUSED = "shut"
    UNREACHABLE = "lost"


@dataclass(frozen=True, slots=True)
class Question:
    """May `origin` reach TCP `port` at `address`?"""

    origin: "Namespace"
    address: str
    port: int


async def ask(question: Question, patience: float = PATIENCE) -> Verdict:
    """One connection attempt, given up after `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            connected = await connect(question)
    except TimeoutError:
        return Verdict.DROPPED
    except ConnectionRefusedError:
        return Verdict.REFUSED
    except OSError as error:
        if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
            return Verdict.UNREACHABLE
        raise
    connected.close()
    return Verdict.OPEN


async def ask_all(questions: "Iterable[Question]", patience: float = PATIENCE) -> dict[Question, Verdict]:
    """The verdict on each question, all asked at once."""
    asked = tuple(questions)
    return dict(zip(asked, await asyncio.gather(*(ask(q, patience) for q in asked)), strict=True))


class Pulse:
    """Knocks at a door every few milliseconds without waiting for an answer to the last knock.

    `first` and `last` are the moments of the first and of the latest answer (None: none yet).
    Use as `async with`; leaving it ends the knocking.
    """

    def __init__(self, question: Question, *, every: float = 0.005, patience: float = 0.25) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self._answered = asyncio.Event()
        self._question = question
        self._every = every
        self._patience = patience
        self._knocking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._knocking = asyncio.create_task(self._knock_on())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._knocking is not None:
            self._knocking.cancel()
            await asyncio.gather(self._knocking, return_exceptions=True)

    async def opened(self, deadline: float) -> float:
        """The moment of the first answer. Raises TimeoutError after `deadline` seconds."""
        async with asyncio.timeout(deadline):
            await self._answered.wait()
        return self.first or time.monotonic()

    async def closed(self, deadline: float, quiet: float = 0.5) -> float:
        """The moment of the last answer, once `quiet` seconds passed without one.

        Raises TimeoutError when there are answers still after `deadline` seconds.
        """
        async with asyncio.timeout(deadline):
            return await quiet_since(lambda: self.last, quiet)

    async def _knock_on(self) -> None:
        async with asyncio.TaskGroup() as knocks:
            while True:
                knocks.create_task(self._knock())
                await asyncio.sleep(self._every)

    async def _knock(self) -> None:
        # Whatever else goes wrong with one knock, it is not an answer, and the next one follows at once.
        with suppress(OSError):
            if await ask(self._question, self._patience) is Verdict.OPEN:
                self.last = time.monotonic()
                self.first = self.first or self.last
                self._answered.set()


async def quiet_since(last: "Callable[[], float | None]", quiet: float) -> float:
    """The latest moment that `last` gave (or that of the call), once it gave no later one for `quiet` s."""
    begun = time.monotonic()
    while (left := (last() or begun) + quiet - time.monotonic()) > 0:  # noqa: ASYNC110 - silence has no event to wait for
        await asyncio.sleep(left)
    return last() or begun


async def connect(question: Question) -> socket.socket:
    """A connected socket, which resets when closed. Raises OSError; waits as long as the kernel does."""
    family = socket.AF_INET6 if ":" in question.address else socket.AF_INET
    connecting = question.origin.open_socket(family)
    connecting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    try:
        await asyncio.get_running_loop().sock_connect(connecting, (question.address, question.port))
    except BaseException:
        connecting.close()
        raise
    return connecting
