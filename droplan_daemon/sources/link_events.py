"""What the kernel tells of changes of this machine's network interfaces.

Laws:
1. A change carries nothing: what there is now is read by whoever acts on it.
2. It is told at once, and what comes within PAUSE of it together, once more: an interface that comes up
   changes a dozen times, and a host of containers has interfaces that come and go all day.
3. Lost events (ENOBUFS) are one more change.

Source: rtnetlink(7), the groups RTMGRP_* of linux/rtnetlink.h.
"""

import asyncio
import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from droplan_daemon.errors import HostUnknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from droplan_daemon.effects import Clock

PAUSE = 0.1
"""Seconds between two changes that are told, at least."""

_NETLINK_ROUTE = 0
_LINK, _IPV4_ADDRESS, _IPV6_ADDRESS = 0x1, 0x10, 0x100
_RECEIVE = 1 << 15
_AT_ONCE = 1000  # datagrams; with more of them the next change is told in a moment anyway


async def link_changes(clock: "Clock") -> "AsyncIterator[None]":
    """Yield after each burst of changes. Raises HostUnknown(reason="links") where nobody tells of any."""
    loop = asyncio.get_running_loop()
    with _opened() as kernel:
        while True:
            try:
                await loop.sock_recv(kernel, _RECEIVE)
                _drain(kernel)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            yield
            await clock.sleep(PAUSE)


def _drain(kernel: socket.socket) -> None:
    """Let go of what waits: it says what is about to be read."""
    with suppress(BlockingIOError):
        for _ in range(_AT_ONCE):
            kernel.recv(_RECEIVE)


def _opened() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    try:
        kernel = socket.socket(socket.AF_NETLINK, kind, _NETLINK_ROUTE)
        try:
            kernel.bind((0, _LINK | _IPV4_ADDRESS | _IPV6_ADDRESS))
        except OSError:
            kernel.close()
            raise
    except OSError as error:
        message = "the kernel does not tell of changes of interfaces, so they are looked for with each poll"
        raise HostUnknown(message, reason="links") from error
    return kernel
