"""sd_notify(3): what the service manager is told.

Laws: telling it is never fatal and never waits; without a NOTIFY_SOCKET nothing is said.
READY and WATCHDOG are said only when the loop says so: this room has no timer.

sdnotify opens its socket by itself, from the environment, blocking, and leaks it when that
fails; and it encodes Latin-1 where systemd reads UTF-8. So the socket is ours.
"""

import re
import socket
from typing import TYPE_CHECKING

import sdnotify

from .plaintext import cut, escape

if TYPE_CHECKING:
    from collections.abc import Mapping

# Longer than any status of ours; `systemctl status` shows one line.
_LONGEST = 500
_MICROSECONDS = 1_000_000
_COUNT = re.compile(r"\d{1,20}", re.ASCII)


class _Channel(sdnotify.SystemdNotifier):  # type: ignore[misc]  # sdnotify ships no types
    """sdnotify over a socket that is opened here; a failed send is raised."""

    def __init__(self, address: str) -> None:
        self.debug = True
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.setblocking(False)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise

    def close(self) -> None:
        self.socket.close()


class ServiceManager:
    """The Notifier over NOTIFY_SOCKET.

    `failures` counts messages that did not get through (a full queue, a manager that is gone).
    """

    def __init__(self, environ: "Mapping[str, str]") -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of an abstract socket: sd_notify(3).
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._channel: _Channel | None = None
        self.failures = 0

    def ready(self, status: str) -> None:
        """The observed ruleset is the desired one."""
        self._send("READY=1", _status(status))

    def reloading(self, monotonic_usec: int) -> None:
        """A reload began, at this CLOCK_MONOTONIC time; systemd 253 asks for the time."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(_status(text))

    def watchdog(self) -> None:
        """The loop is alive."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The loop ends."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Give the socket back."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _send(self, *lines: str) -> None:
        """One datagram. After a failure the next message opens the socket anew."""
        if not self._address:
            return
        try:
            if self._channel is None:
                self._channel = _Channel(self._address)
            # UTF-8 bytes in the guise of Latin-1 text come out of sdnotify as they went in.
            self._channel.notify("\n".join(lines).encode().decode("latin-1"))
        except (OSError, ValueError):  # ValueError: a NUL inside the address
            self.failures += 1
            self.close()


def watchdog_interval(environ: "Mapping[str, str]", pid: int) -> float | None:
    """Seconds within which systemd wants a WATCHDOG, None: it wants none of this process.

    Source: sd_watchdog_enabled(3). Send at half of it.
    """
    wanted_of = environ.get("WATCHDOG_PID", "")
    microseconds = environ.get("WATCHDOG_USEC", "")
    if wanted_of and wanted_of != str(pid):
        return None
    if not _COUNT.fullmatch(microseconds):
        return None
    return int(microseconds) / _MICROSECONDS or None


def _status(text: str) -> str:
    """STATUS= is one line: a line break in it would be another message."""
    return f"STATUS={cut(escape(text), _LONGEST)}"
