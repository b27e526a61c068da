"""Packets by the hundred thousand, from as many senders as one likes, and how many arrived.

Laws:
1. Frames are made beforehand and handed to the kernel by sendmmsg(2), 256 a call: what differs
   between two runs is what the receiver's firewall does, for on a veth pair the sender's processor
   does that too, before the call returns.
2. What arrived is counted by a table of our own at the receiver's input hook, after every firewall,
   which then drops it: no socket buffer can lose anything.
"""

import ctypes
import json
import os
import socket
import struct
from typing import TYPE_CHECKING, ParamSpec, Protocol, Self, TypeVar

from droplan_daemon.lab.netns import Namespace

from .fleets import NETWORK, OWN_ADDRESS
from .processes import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from droplan_daemon.model.addresses import Address

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 256
PORT = 4789
_PAYLOAD = b"droplan bench frame"[:18]  # 60 bytes in all, the least that Ethernet carries
_SENDER_MAC, _RECEIVER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_SINK = f"""
table inet bench {{
  chain sink {{ type filter hook input priority 300; udp dport {PORT} counter drop; }}
}}"""


class Inside(Protocol):
    """A network namespace, of the lab's or of the tests' own."""

    def call(self, function: "Callable[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns when run in there."""
        ...


class Receiver:
    """A namespace with `eth1`, a wire to the sender, and a sink; a firewall may be put before it."""

    def __init__(self, sender: Namespace, name: str) -> None:
        self.machine = Namespace(name)
        self.wire = f"to-{name}"
        pid = os.getpid()
        link = f"link add eth1 address {_RECEIVER_MAC} type veth peer name {self.wire} address {_SENDER_MAC}"
        lines = (
            f"{link} netns /proc/{pid}/fd/{sender.fd}",
            f"address add {OWN_ADDRESS}/{NETWORK.partition('/')[2]} dev eth1",
            "link set lo up",
            "link set eth1 up",
        )
        inside(self.machine, "ip", "-batch", "-", text="\n".join(lines))
        inside(sender, "ip", "link", "set", self.wire, "up")
        inside(self.machine, "nft", "-f", "-", text=_SINK)

    def arrived(self) -> int:
        """Packets that came through, so far."""
        listed = json.loads(inside(self.machine, "nft", "-j", "list", "table", "inet", "bench"))
        rules = (entry["rule"]["expr"] for entry in listed["nftables"] if "rule" in entry)
        return int(next(part["counter"]["packets"] for expr in rules for part in expr if "counter" in part))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.close()


class _Span(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct mmsghdr: a msghdr, and how much of it was sent."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("spans", ctypes.POINTER(_Span)),
        ("span_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


class Sender:
    """Sends the same frames over one wire again and again, in turn."""

    def __init__(self, machine: "Inside", wire: str, frames: "Sequence[bytes]") -> None:
        self._socket: socket.socket = machine.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)
        machine.call(self._socket.bind, (wire, 0))
        chosen = [frames[n % len(frames)] for n in range(max(AT_ONCE, len(frames)))]
        self._frames = [ctypes.create_string_buffer(each, len(each)) for each in chosen]
        self._spans = (_Span * len(chosen))(
            *(_Span(ctypes.addressof(f), ctypes.sizeof(f)) for f in self._frames)
        )
        self._headers = (_Header * len(chosen))()
        for number, header in enumerate(self._headers):
            header.spans, header.span_count = ctypes.pointer(self._spans[number]), 1
        self._send: Callable[..., int] = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._next = 0

    def send(self, count: int) -> int:
        """Send at least so many packets; how many were sent. Holds no lock of Python meanwhile."""
        sent = 0
        while sent < count:
            # The last part of the frames may be shorter than AT_ONCE.
            most = min(AT_ONCE, len(self._headers) - self._next)
            at = ctypes.byref(self._headers, self._next * ctypes.sizeof(_Header))
            done = self._send(self._socket.fileno(), at, most, 0)
            if done < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            self._next = (self._next + done) % len(self._headers)
            sent += done
        return sent

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def frame(source: "Address", target: str = OWN_ADDRESS, macs: str = _RECEIVER_MAC + _SENDER_MAC) -> bytes:
    """A UDP packet from this address to the receiver, in Ethernet; `macs`: the receiver's, the sender's."""
    ends = source, socket.inet_aton(target)
    length = 28 + len(_PAYLOAD)
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length, 0, 0x4000, 64, 17, 0, *ends)
    head = head[:10] + _checksum(head).to_bytes(2, "big") + head[12:]
    udp = struct.pack(">HHHH", PORT, PORT, 8 + len(_PAYLOAD), 0)
    return bytes.fromhex(macs.replace(":", "")) + b"\x08\x00" + head + udp + _PAYLOAD


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
