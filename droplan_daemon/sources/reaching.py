"""Whether the API can still be reached: a connection of its own, over TLS, and nothing asked.

Laws:
1. It trusts whom a poll trusts. No token goes there, and nothing of an answer is read.
2. It ends in time, and whatever keeps a connection from being made is a no.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from droplan_daemon.errors import SourceUnavailable

from .concurrency import within
from .http import trust

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 3.0
"""Seconds for the name, the connection and the handshake together."""

_LEAVE = 0.5
_PORTS = {"http": 80, "https": 443}


class ApiProbe:
    """Reaches the API at `url`. A connection that is open already proves nothing: this one is new."""

    name = "API"

    def __init__(self, url: str, ca_file: "Path | None" = None, deadline: float = DEADLINE) -> None:
        self._url = url
        self._ca_file = ca_file
        self._deadline = deadline

    async def reaches(self) -> bool:
        """Whether a new connection gets there, and shows a certificate that can be trusted."""
        try:
            await within(self._deadline, self._connected())
        except (OSError, TimeoutError, ValueError, SourceUnavailable):
            return False
        return True

    async def _connected(self) -> None:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
        context = trust(self._url, self._ca_file) if parts.scheme == "https" else None
        _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.close()
        with suppress(OSError, TimeoutError):  # it was reached, however it takes leave
            await within(_LEAVE, writer.wait_closed())
