"""What a long policy costs: its compilation, and each packet that it judges.

Laws:
1. The long policy holds rules of every sort that could be walked one by one: many ports, many
   selectors on one port, overlapping ranges, rules for every port, in and out.
2. The packets are let in by one rule, the same in both policies; in the long one it stands behind
   half of the others.
"""

import sys
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from droplan_daemon.lab.netns import Namespace, gain_rights
from droplan_daemon.model.fleet import Fleet
from droplan_daemon.model.policy import (
    Allow,
    Direction,
    InterfacePolicy,
    Outbound,
    Policy,
    PortProtocol,
    Ports,
)
from droplan_daemon.model.selector import And, Kind, Not, Or, Term
from droplan_daemon.policy.compile import compile_ruleset

from .fleets import HOST, fleet
from .packets import PEERS, TURN, _droplan, _way
from .rounds import Effort, ratio, side_by_side, timed
from .table import MILLI, Row, at_most, head, lines, seconds
from .traffic import PORT, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from droplan_daemon.model.policy import Allow as Rule
    from droplan_daemon.model.ruleset import Ruleset
    from droplan_daemon.model.selector import Selector

RULES, TAGS = 200, 100
COMPILE_BAR, PACKET_BAR = 150 * MILLI, 1.3
_PEERS_SHUT = InterfacePolicy(managed=True, allow_peers=False, outbound=Outbound.DROP)


def rows(effort: Effort) -> "Iterator[Row]":
    """Both figures."""
    yield compile_row(effort)
    yield packet_row(effort)


def compile_row(effort: Effort) -> Row:
    """200 rules over 10,000 Droplets, from the values of the model to a Ruleset."""
    whole, policy = tagged(PEERS), Policy(private=_PEERS_SHUT, allows=rules(RULES))
    taken = [timed(lambda: _compiled(policy, whole)) for _ in range(effort.rounds(25) + 1)][1:]
    row = Row("compile 200 rules, 10,000 Droplets", seconds(median(taken)))
    return at_most(row, median(taken), COMPILE_BAR, "150 ms")


def packet_row(effort: Effort) -> Row:
    """A packet through 200 rules beside the same packet through the one that lets it in."""
    whole = tagged(PEERS)
    with ExitStack() as stack:
        sender = stack.enter_context(Namespace("sender"))
        ways: list[Callable[[], float]] = []
        for name, count in (("many", RULES), ("one", 1)):
            receiver = stack.enter_context(Receiver(sender, name))
            policy = Policy(private=_PEERS_SHUT, allows=rules(count))
            _droplan(receiver.machine, _compiled(policy, whole))
            ways.append(_way(stack, sender, receiver, TURN))
        many, one = side_by_side(effort.rounds(25), *ways)
    # Packets per second; a packet's time is the inverse.
    cost = ratio(one, many)
    row = Row("a packet through 200 rules", f"{median(many):,.0f}/s", f"1 rule {median(one):,.0f}/s", cost)
    return at_most(row, cost, PACKET_BAR, "1.3 x")


def tagged(count: int) -> Fleet:
    """So many Droplets, each with two of the tags, and web, as all of them have."""
    whole = fleet(range(count))
    own, *others = whole.droplets
    return Fleet((own, *(replace(d, tags=("web", *_tags(d.id))) for d in others)), whole.vpcs)


def _tags(number: int) -> tuple[str, str]:
    return f"tag-{number % TAGS}", f"team-{number // TAGS % TAGS}"


def _compiled(policy: Policy, whole: Fleet) -> "Ruleset":
    return compile_ruleset(policy, whole, HOST, whole.droplets[0])


def rules(count: int) -> "tuple[Rule, ...]":
    """So many rules; the one in the middle lets the packets in."""
    wanted = Allow(
        "bench", Term(Kind.ALL), Term(Kind.TAG, "web"), ports=(Ports(PortProtocol.UDP, PORT, PORT),)
    )
    others = [_rule(number) for number in range(count - 1)]
    middle = len(others) // 2
    return (*others[:middle], wanted, *others[middle:])


def _rule(number: int) -> Allow:
    """One of five sorts."""
    who = _who(number)
    sorts: tuple[tuple[Ports, ...], ...] = (
        (
            Ports(PortProtocol.TCP, 1000 + number, 1000 + number),
            Ports(PortProtocol.UDP, 1000 + number, 1000 + number),
        ),
        (Ports(PortProtocol.UDP, PORT + 1, PORT + 1), Ports(PortProtocol.TCP, 443, 443)),
        (Ports(PortProtocol.UDP, PORT - 300 + number, PORT + 300 + number),),
        (),
        (Ports(PortProtocol.ICMP), Ports(PortProtocol.TCP, 8000, 8000 + number)),
    )
    direction = Direction.OUTBOUND if number % 7 == 0 else Direction.INBOUND
    return Allow(f"rule {number}", Term(Kind.ALL), who, direction, sorts[number % len(sorts)])


def _who(number: int) -> "Selector":
    """A tag, two of them, one without the other, or a part of our VPC; hardly two rules have the same."""
    one, other = Term(Kind.TAG, f"tag-{number % TAGS}"), Term(Kind.TAG, f"team-{number // 2}")
    part = And((Term(Kind.PREFIX, f"10.20.{number}.0/24"), Not(other)))
    return (one, And((one, other)), Or((one, other)), And((one, Not(other))), part)[number // 5 % 5]


def main() -> int:
    """Print both; 1 when one is missed."""
    gain_rights()
    found = list(rows(Effort(quick="--quick" in sys.argv[1:])))
    sys.stdout.write("\n".join((head(), *(line for row in found for line in lines(row)))) + "\n")
    return int(any(row.met is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
