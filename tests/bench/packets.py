"""What a packet pays for the firewall, and whether commits lose any.

Laws:
1. The same frames go to every receiver, in short turns: from ten peers spread over the fleet, so
   that the linear chain is walked half-way on average.
2. A turn in which a packet got lost does not count; it is an error.
"""

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.diff import diff
from droplan_daemon.lab.netns import Namespace
from droplan_daemon.model.addresses import format_address

from .fleets import address, ruleset
from .processes import inside
from .rounds import ratio, side_by_side
from .table import Row, at_least, at_most
from .traffic import Receiver, Sender, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from droplan_daemon.model.ruleset import Ruleset

    from .rounds import Effort

    Make = Callable[[], NftBackend | IptablesBackend]

PEERS = 10_000
SENDERS = 10
TURN, SLOW_TURN = 50_000, 2_000
COMMITS, CHANGES, PACKETS = 200, 1_000, 1_000_000
_PORTION = 400
_OLD_CHAIN = """*filter
:droplan-peers - [0:0]
-A INPUT -i eth1 -j droplan-peers
-A INPUT -i eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i eth1 -j DROP
COMMIT
"""
_STANDING = tuple(range(PEERS // SENDERS // 2, PEERS, PEERS // SENDERS))


def rate_rows(effort: "Effort") -> "Iterator[Row]":
    """Packets per second."""
    with ExitStack() as stack:
        sender = stack.enter_context(Namespace("sender"))

        def way(name: str, build: "Callable[[Namespace], None]", turn: int = TURN) -> "Callable[[], float]":
            receiver = stack.enter_context(Receiver(sender, name))
            build(receiver.machine)
            return _way(stack, sender, receiver, turn)

        through_many = way("many", lambda machine: _droplan(machine, ruleset(range(PEERS))))
        through_few = way("few", lambda machine: _droplan(machine, _few()))
        # By themselves: what is compared must not come after a stranger in every turn.
        many, few = side_by_side(effort.rounds(40), through_many, through_few)
        open_way, chain_way = way("none", lambda _: None), way("chain", _old_droplan, SLOW_TURN)
        again, none, chain = side_by_side(effort.rounds(15), through_many, open_way, chain_way)
    row = Row("packets/s through 10,000 peers", _rate(many), f"10 peers {_rate(few)}", ratio(many, few))
    yield at_least(row, ratio(many, few), 0.95, "0.95 x")
    yield Row("   the same, beside no firewall", _rate(again), f"none {_rate(none)}", ratio(again, none))
    yield Row("   the same, beside the old chain", _rate(again), f"chain {_rate(chain)}", ratio(again, chain))


def iptables_rows(effort: "Effort") -> "Iterator[Row]":
    """The same for iptables with ip sets."""
    with ExitStack() as stack:
        sender = stack.enter_context(Namespace("sender"))
        ways = []
        for name, wanted in (("many", ruleset(range(PEERS))), ("few", _few())):
            receiver = stack.enter_context(Receiver(sender, name))
            _droplan(receiver.machine, wanted, IptablesBackend)
            ways.append(_way(stack, sender, receiver, TURN))
        many, few = side_by_side(effort.rounds(40), *ways)
    row = Row("iptables: packets/s, 10,000 peers", _rate(many), f"10 peers {_rate(few)}", ratio(many, few))
    yield at_least(row, ratio(many, few), 0.9, "0.9 x")
    yield from loss_rows(effort, IptablesBackend, "iptables: ")


def _rate(values: list[float]) -> str:
    return f"{median(values):,.0f}"


def _few() -> "Ruleset":
    """The ten senders and nobody else."""
    whole = ruleset(range(SENDERS))
    senders = frozenset(map(address, _STANDING))
    return replace(whole, sets={name: replace(item, elements=senders) for name, item in whole.sets.items()})


def _droplan(machine: Namespace, wanted: "Ruleset", make: "Make" = NftBackend) -> None:
    def commit() -> None:
        kernel = make()
        kernel.commit(diff(None, wanted), kernel.observe().generation)
        kernel.close()

    machine.call(commit)


def _old_droplan(machine: Namespace) -> None:
    """The chain of the old droplan, in portions: without real root a netlink buffer holds no more."""
    inside(machine, "iptables-restore", text=_OLD_CHAIN)
    for start in range(0, PEERS, _PORTION):
        peers = (format_address(address(n)) for n in range(start, start + _PORTION))
        rules = "\n".join(f"-A droplan-peers -s {peer}/32 -j ACCEPT" for peer in peers)
        inside(machine, "iptables-restore", "--noflush", text=f"*filter\n{rules}\nCOMMIT\n")


def _way(stack: ExitStack, sender: Namespace, receiver: Receiver, turn: int) -> "Callable[[], float]":
    """Packets per second of one turn to this receiver."""
    source = Sender(sender, receiver.wire, [frame(address(n)) for n in _STANDING])
    stack.callback(source.close)

    def once() -> float:
        before, begun = receiver.arrived(), time.perf_counter()
        sent = source.send(turn)
        taken = time.perf_counter() - begun
        arrived = receiver.arrived() - before
        if arrived != sent:
            raise ValueError(f"{sent - arrived} of {sent} packets to {receiver.machine.name} got lost")
        return sent / taken

    return once


def loss_rows(effort: "Effort", make: "Make" = NftBackend, about: str = "") -> "Iterator[Row]":
    """Packets of standing peers, while others come and go."""
    commits, packets = (40, 200_000) if effort.quick else (COMMITS, PACKETS)
    with Namespace("sender") as sender, Receiver(sender, "loss") as receiver:
        source = Sender(sender, receiver.wire, [frame(address(n)) for n in _STANDING])
        try:
            found = receiver.machine.call(_churn, source, commits, packets, make)
        finally:
            source.close()
        arrived = receiver.arrived()
    if found.sent < packets:
        raise ValueError(f"only {found.sent:,} of {packets:,} packets could be sent")
    lost = found.sent - arrived
    note = (
        f"{found.sent:,} packets sent in {found.seconds:.1f} s, and {found.commits} commits of {CHANGES:,}"
        " changes meanwhile."
    )
    yield at_most(Row(f"{about}packets lost during {commits} commits", f"{lost:,}", note=note), lost, 0, "0")


@dataclass(frozen=True, slots=True)
class _Churned:
    """How many packets were sent and commits made, in how long."""

    sent: int
    commits: int
    seconds: float


def _churn(source: Sender, commits: int, packets: int, make: "Make") -> _Churned:
    """Commit until both numbers are reached: half of the other peers go, half come, in turns."""
    kernel = make()
    half = CHANGES // 2
    ways = [_moving(range(half)), _moving(range(half, 2 * half))]
    kernel.commit(diff(None, ways[0]), kernel.observe().generation)
    sent, done, stop, begun = [0], 0, threading.Event(), time.perf_counter()

    def flood() -> None:
        while not stop.is_set():
            sent[0] += source.send(1)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        while thread.is_alive() and (done < commits or sent[0] < packets):
            observation, wanted = kernel.observe(), ways[(done + 1) % 2]
            kernel.commit(diff(observation.ruleset, wanted), observation.generation)
            done += 1
    finally:
        stop.set()
        thread.join()
    kernel.close()
    return _Churned(sent[0], done, time.perf_counter() - begun)


def _moving(which: range) -> "Ruleset":
    """Ten thousand who stay, the senders among them, and those of `which`, who do not."""
    whole = ruleset(range(PEERS))
    moving = frozenset(address(PEERS + n) for n in which)
    return replace(
        whole,
        sets={name: replace(item, elements=item.elements | moving) for name, item in whole.sets.items()},
    )
