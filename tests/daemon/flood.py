"""Packets of standing peers without a pause, at the far end of the private cable, and who of them arrived.

Laws:
1. On a veth pair the sender's processor runs the receiver's firewall before its call returns, so there is
   no moment between two packets that is long enough for a ruleset to be wrong unseen.
2. What arrives is counted by a table of our own behind every firewall, which then drops it: no socket's
   buffer loses anything. What the cable itself lost, because its queue was full, the interface counts.
"""

import json
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Self

from droplan_daemon.model.addresses import parse_address
from tests.bench.traffic import AT_ONCE, PORT, Sender, frame
from tests.boot.probing import carries
from tests.daemon.machine import PEERS, until

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

_SENDER_MAC = "04:01:aa:bb:cc:dd"
_COUNTING = f"""
table inet counting {{
  chain sink {{ type filter hook input priority 300; udp dport {PORT} counter drop; }}
}}"""


class Flood:
    """Sends while the context lasts; what is asked of it is exact once it has ended."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        machine.namespace.run("ip", "link", "set", "eth1-far", "up")
        for end in ("eth1", "eth1-far"):
            until(partial(carries, machine, end), 60, f"{end} up")
        machine.namespace.run("nft", "-f", "-", text=_COUNTING)
        own, macs = str(machine.own.address("private")), machine.own.private_mac + _SENDER_MAC
        sources = sorted(machine.addresses(*PEERS))
        self._sender = Sender(
            machine.namespace, "eth1-far", [frame(parse_address(peer), own, macs) for peer in sources]
        )
        self._overflown = self._dropped()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: OSError | None = None
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)
        self._sender.close()
        assert self._failure is None, self._failure

    @property
    def arrived(self) -> int:
        """Packets that came through every firewall."""
        listed = json.loads(self._machine.namespace.run("nft", "-j", "list", "table", "inet", "counting"))
        rules = (entry["rule"]["expr"] for entry in listed["nftables"] if "rule" in entry)
        return int(next(part["counter"]["packets"] for parts in rules for part in parts if "counter" in part))

    @property
    def lost(self) -> int:
        """Packets that a firewall dropped: asked again for a while, for the last ones may be on their way."""
        end = time.monotonic() + 10
        while (missing := self.sent - self.arrived - self.overflown) and time.monotonic() < end:
            time.sleep(0.05)
        return missing

    @property
    def overflown(self) -> int:
        """Packets that never came to a firewall, for the queue of the cable was full."""
        return self._dropped() - self._overflown

    def more(self, packets: int) -> None:
        """Wait until so many more came to the firewall."""
        self.until(self.sent - self.overflown + packets)

    def until(self, packets: int) -> None:
        """Wait until so many in all came to the firewall."""
        until(lambda: self.sent - self.overflown >= packets or self._failure, 240, f"{packets} packets")

    def _dropped(self) -> int:
        (link,) = json.loads(
            self._machine.namespace.run("ip", "-json", "-stats", "link", "show", "dev", "eth1")
        )
        return int(link["stats64"]["rx"]["dropped"])

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                self.sent += self._sender.send(AT_ONCE)
        except OSError as error:
            self._failure = error
