"""The TCP connections that this machine's programs have open.

What connection tracking knows is more (ports before anybody's DNAT, traffic that is passed on), but the
kernel tracks nothing before some rule asks for it: before the first enforcement, for instance.

Law: reads only, in the network namespace of the calling thread; nothing is decided.
Source: proc_pid_net(5), net/ipv4/tcp_ipv4.c (get_tcp4_sock).
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import KernelUnsupported
from droplan_daemon.model.connection import Connection
from droplan_daemon.model.ruleset import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.model.addresses import Address

_HERE = Path("/proc/thread-self/net")
_LISTENING = "0A"
_OPEN = frozenset({"01", "03", "08"})  # ESTABLISHED, SYN_RECV, CLOSE_WAIT: somebody may still speak
_MAPPED = bytes(10) + b"\xff\xff"  # an IPv4 connection to a socket of IPv6 (RFC 4291 2.5.5.2)

_End = tuple["Address", int]
_Socket = tuple[_End, _End, str]


@dataclass(frozen=True, slots=True)
class Sockets:
    """The kernel's own list, whichever network namespace we are in."""

    folder: Path = _HERE

    def open_now(self) -> tuple[Connection, ...]:
        """Every open TCP connection, as opened by whoever asked a port that is listened at. Blocking.

        Raises KernelUnsupported when there is no such list.
        """
        try:
            found = [one for name in ("tcp", "tcp6") for one in self._listed(name)]
        except (OSError, ValueError, IndexError) as error:
            message = f"the kernel does not list its sockets ({error}); droplan can do without"
            raise KernelUnsupported(message, feature="procfs") from error
        served = {port for (_, port), _, state in found if state == _LISTENING}
        return tuple(_connection(one, served) for one in found if one[2] in _OPEN)

    def _listed(self, name: str) -> "Iterator[_Socket]":
        try:
            lines = (self.folder / name).read_text("ascii").splitlines()
        except FileNotFoundError:
            if name == "tcp":
                raise
            return  # IPv6 is switched off
        for line in lines[1:]:
            _, local, remote, state, *_ = line.split()
            yield _end(local), _end(remote), state


def _end(text: str) -> _End:
    """`0100007F:0016`: words in the byte order of this machine, then the port."""
    words, _, port = text.partition(":")
    numbers = struct.unpack(f">{len(words) // 8}I", bytes.fromhex(words))
    address = struct.pack(f"={len(numbers)}I", *numbers)
    return address.removeprefix(_MAPPED) if len(address) == len(_MAPPED) + 4 else address, int(port, 16)


def _connection(one: _Socket, served: set[int]) -> Connection:
    (local, port), (remote, remote_port), _ = one
    if port in served:
        return Connection(remote, local, Protocol.TCP, remote_port, port)
    return Connection(local, remote, Protocol.TCP, port, remote_port)
