"""The kernel of one namespace, as these tests use it: what droplan sees, and what nft(8) sees."""

import json
import time
from typing import TYPE_CHECKING, Any

from droplan_daemon.diff import diff
from droplan_daemon.model.addresses import Family, parse_address
from droplan_daemon.model.plan import Plan
from droplan_daemon.model.policy import InterfacePolicy, Policy
from droplan_daemon.model.ruleset import (
    Action,
    AddressSet,
    Chain,
    From,
    Hook,
    HookPoint,
    Interface,
    Log,
    Rule,
    Ruleset,
    SetKind,
    Verdict,
    ruleset,
)
from tests.kernel.variants import BACKENDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.effects import Observation
    from tests.conftest import Namespace
    from tests.kernel.variants import Make

_ACCEPT, _DROP = Verdict(Action.ACCEPT), Verdict(Action.DROP)
_NOT_THE_SAME_TWICE = ("handle", "index")

BOTH_MANAGED = Policy(public=InterfacePolicy(managed=True, allow_peers=True))


class Kernel:
    """A namespace and a backend in it."""

    def __init__(
        self, namespace: "Namespace", deadline: float = 5.0, make: "Make" = BACKENDS["nftables"]
    ) -> None:
        self.namespace = namespace
        self.backend = namespace.call(make, deadline)

    def close(self) -> None:
        self.namespace.call(self.backend.close)

    def observation(self) -> "Observation":
        return self.namespace.call(self.backend.observe)

    def holds(self) -> Ruleset | None:
        return self.observation().ruleset

    def generation(self) -> int:
        return self.namespace.call(self.backend.generation)

    def commit(self, plan: Plan, at: int | None = None) -> None:
        self.namespace.call(self.backend.commit, plan, self.generation() if at is None else at)

    def become(self, desired: Ruleset | None) -> Plan:
        """One diff, one commit."""
        found = self.observation()
        plan = diff(found.ruleset, desired)
        self.commit(plan, found.generation)
        return plan

    def nft(self, script: str) -> None:
        self.namespace.run("nft", "-f", "-", text=script)

    def dump(self) -> "list[dict[str, Any]]":
        """What nft(8) says of everything, but for handles, packet counts and the order of making."""
        listed = json.loads(self.namespace.run("nft", "-j", "list", "ruleset"))
        found: list[dict[str, Any]] = _timeless(listed["nftables"][1:])
        return sorted(found, key=_place)

    def raw(self, *, without: str = "") -> str:
        """What nft(8) prints of every table, handles included; `without` one of them."""
        tables = [
            line.split(maxsplit=1)[1] for line in self.namespace.run("nft", "list", "tables").splitlines()
        ]
        texts = (self.namespace.run("nft", "-a", "list", "table", *t.split()) for t in tables if t != without)
        return "\n".join(texts)


def _place(item: "dict[str, Any]") -> tuple[str, ...]:
    """Rules of a chain stay in their order, for sorting is stable."""
    ((kind, about),) = item.items()
    return kind, about["family"], about.get("table", ""), about.get("chain", "") or about["name"]


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "counter" in value and isinstance(value["counter"], dict):
        return {"counter": None}
    found = {key: _timeless(item) for key, item in value.items() if key not in _NOT_THE_SAME_TWICE}
    return found | {"elem": sorted(found["elem"], key=str)} if "elem" in found else found


def address(text: str) -> bytes:
    return parse_address(text)


def hosts(first: str, count: int) -> frozenset[bytes]:
    """So many addresses from this one on."""
    packed = parse_address(first)
    start, width = int.from_bytes(packed, "big"), len(packed)
    return frozenset((start + n).to_bytes(width, "big") for n in range(count))


def host_set(name: str, members: frozenset[bytes], capacity: int = 16) -> AddressSet:
    return AddressSet(name, Family.IPV4, SetKind.HOSTS, capacity, members)


def span(first: str, last: str) -> bytes:
    return parse_address(first) + parse_address(last)


SMALL = ruleset(
    (
        host_set("peers", frozenset({address("10.0.0.1"), address("10.0.0.2")})),
        AddressSet("nets", Family.IPV4, SetKind.RANGES, 0, frozenset({span("10.1.0.0", "10.1.0.5")})),
    ),
    (
        Chain(
            "inbound",
            Hook(HookPoint.PREROUTING, -110),
            (Rule("private", (Interface("eth1"),), verdict=Verdict(Action.GOTO, "judge")),),
        ),
        Chain(
            "judge",
            None,
            (
                Rule("peers", (From("peers", Family.IPV4),), counter=True, verdict=_ACCEPT),
                Rule("nets", (From("nets", Family.IPV4),), counter=True, verdict=_ACCEPT),
                Rule("denied log", log=Log("droplan DROP: ")),
                Rule("denied", counter=True, verdict=_DROP),
            ),
        ),
    ),
    "the table of a test",
)
"""One of each kind of thing."""


def until(condition: "Callable[[], bool]", seconds: float = 2.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
