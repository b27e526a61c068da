"""Law 2: whatever the API answers, doubt takes nobody away.

Every fault that the lab can script, met by the real Source in a real cycle, while the account
itself has changed: whoever believed the broken answer, or half of it, would write.
"""

import asyncio
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.lab.control import EFFECTS
from droplan_daemon.lab.delivery import (
    BlackHole,
    Bomb,
    Cut,
    Drip,
    Endless,
    Misdeclare,
    Reset,
    Verbatim,
)
from droplan_daemon.lab.digitalocean import DigitalOcean as Cloud
from droplan_daemon.lab.faults import (
    Afterwards,
    Delay,
    Deliver,
    Edit,
    Fault,
    Headers,
    Status,
    Without,
    empty,
    garbage,
    hide,
    html,
    next_link,
    redirect,
    total,
)
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.messages import Json
from droplan_daemon.lab.scopes import LAB_TOKEN, Tokens, scoped
from droplan_daemon.lab.server import LabServer
from droplan_daemon.lab.world import World
from droplan_daemon.model.addresses import format_address
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Peers, Policy
from droplan_daemon.outcomes import Committed, Failed, Refused, Unchanged
from droplan_daemon.reconcile import Cycle
from droplan_daemon.sources.digitalocean import DigitalOcean

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.effects import Backend
    from droplan_daemon.model.fleet import Fleet
    from droplan_daemon.outcomes import Outcome
    from tests.conftest import Namespace

PATIENCE = 60.0
"""Seconds that a poll may take on a busy machine, where it is not its end that is tested."""
MANY = 202  # two pages
TAGGED = Policy(peers=Peers(tag="web"))
DROPLETS = "/v2/droplets"


@dataclass(frozen=True)
class Case:
    """A fault, and the reason that the outcome has for it."""

    reason: str
    fault: Fault
    policy: Policy = field(default_factory=Policy)


def _emptied(body: Json, count: int) -> Json:
    return {**body, "droplets": [], "links": {}, "meta": {"total": count}} if "droplets" in body else body


def _repeated(body: Json) -> Json:
    first = body["droplets"][:1]
    return {**body, "droplets": first * len(body["droplets"])}


def _odd_entries(body: Json) -> Json:
    return {**body, "droplets": [{**d, "networks": 7} for d in body["droplets"]]}


def _nested(depth: int) -> bytes:
    return b'{"droplets":' + b"[" * depth + b"]" * depth + b"}"


CASES = {
    # A1: no answer worth the name.
    **{f"status-{n}": Case("http_status", Fault(Status(n))) for n in (400, 404, 418, 500, 502, 503, 504)},
    "status-500-page-2": Case("http_status", Fault(Status(500), page=2, path=DROPLETS)),
    "status-500-gpus": Case("http_status", Fault(Status(500), type="gpus", path=DROPLETS)),
    "status-500-vpcs": Case("http_status", Fault(Status(500), path="/v2/vpcs")),
    "status-500-peerings": Case("http_status", Fault(Status(500), path="/v2/vpc_peerings")),
    "status-204": Case("bad_body", Fault(Status(204, b""))),
    # A3, A4: nobody there, or not all.
    "none-at-all": Case("self_missing", Fault(Edit(lambda b: _emptied(b, 0)), path=DROPLETS)),
    "none-of-412": Case("count_mismatch", Fault(Edit(lambda b: _emptied(b, 412)), path=DROPLETS)),
    "total-too-high": Case("count_mismatch", Fault(total(MANY + 1), path=DROPLETS, type="droplets")),
    "total-too-low": Case("count_mismatch", Fault(total(100), path=DROPLETS, type="droplets")),
    "total-nonsense": Case("bad_body", Fault(total("many"), path=DROPLETS)),
    "total-huge": Case("too_many", Fault(total(10**9), path=DROPLETS, type="droplets")),
    "total-differs": Case("unstable", Fault(total(300), path=DROPLETS, type="droplets", page=2)),
    "without-us": Case("self_missing", Fault(Without(frozenset({3_164_444})))),
    "page-2-empty": Case(
        "count_mismatch", Fault(Edit(lambda b: {**b, "droplets": []}), page=2, path=DROPLETS)
    ),
    "page-1-twice": Case("unstable", Fault(Edit(_repeated), page=2, path=DROPLETS)),
    # A8: links to elsewhere.
    "next-elsewhere": Case("foreign_next", Fault(next_link("http://127.0.0.2:1/v2/droplets"), path=DROPLETS)),
    "redirect": Case("redirect", Fault(redirect("http://127.0.0.2:1/"))),
    # A9, A10: the token.
    "401": Case("unauthorized", Fault(Status(401))),
    "403": Case("forbidden", Fault(Status(403))),
    "403-vpcs": Case("forbidden", Fault(Status(403), path="/v2/vpcs")),
    "tags-hidden": Case("tags_hidden", Fault(hide("tags"), path=DROPLETS), TAGGED),
    "vpcs-hidden": Case("vpcs_hidden", Fault(hide("vpc_uuid"), path=DROPLETS)),
    "networks-hidden": Case("many_skipped", Fault(hide("networks"), path=DROPLETS)),
    # A11: limits.
    "429": Case("rate_limited", Fault(Status(429))),
    "429-soon": Case("rate_limited", Fault(Status(429, headers={"retry-after": "soon"}))),
    "429-in-2099": Case("rate_limited", Fault(Status(429, headers={"ratelimit-reset": "4070908800"}))),
    # A12: slow.
    "delay": Case("deadline", Fault(Delay(90))),
    "drip": Case("deadline", Fault(Deliver(Drip(0.2)))),
    "black-hole": Case("deadline", Fault(Deliver(BlackHole()))),
    "black-hole-page-2": Case("deadline", Fault(Deliver(BlackHole()), page=2)),
    # A13, A15: broken bodies.
    "html": Case("bad_body", Fault(html())),
    "empty": Case("bad_body", Fault(empty())),
    "half-a-page": Case("bad_json", Fault(garbage())),
    "cut": Case("bad_body", Fault(Deliver(Cut(1000)))),
    "longer-than-said": Case("bad_json", Fault(Deliver(Misdeclare(-7)))),
    "shorter-than-said": Case("bad_body", Fault(Deliver(Misdeclare(7)))),
    "bomb": Case("bad_body", Fault(Deliver(Bomb(8 * 2**20)))),
    "endless": Case("bad_body", Fault(Deliver(Endless()))),
    "wrong-type": Case("bad_body", Fault(Headers({}, "text/html"))),
    "wrong-encoding": Case("bad_body", Fault(Headers({"content-encoding": "br"}))),
    "deep": Case("bad_json", Fault(garbage(_nested(100_000)))),
    "long-number": Case("bad_json", Fault(garbage(b'{"droplets":[],"meta":{"total":' + b"9" * 5000 + b"}}"))),
    "nan": Case("bad_json", Fault(garbage(b'{"droplets":[],"meta":{"total":NaN}}'))),
    "twice": Case("bad_json", Fault(garbage(b'{"droplets":[],"droplets":[],"meta":{"total":0}}'))),
    "nul": Case("bad_json", Fault(garbage(b"\x00"))),
    "odd-entries": Case("many_skipped", Fault(Edit(_odd_entries), path=DROPLETS)),
    # Connections.
    "reset": Case("connection", Fault(Deliver(Reset()))),
    "reset-in-the-middle": Case("connection", Fault(Deliver(Reset(1000)))),
    "not-http": Case("protocol", Fault(Deliver(Verbatim(b"SSH-2.0-OpenSSH_9.2\r\n")))),
    "nothing": Case("protocol", Fault(Deliver(Verbatim(b"")))),
}


class Site:
    """An account of two pages, its API, and a cycle of its first Droplet."""

    def __init__(self, policy: Policy, backend: "Backend") -> None:
        self.world = World()
        self.vpc = self.world.add_vpc("lab", ip_range="10.10.0.0/20")
        self.droplets = [
            self.world.add_droplet(f"d-{n}", vpc=self.vpc.id, tags=("web",)) for n in range(MANY)
        ]
        plenty = Limits(hourly=100_000, burst=100_000)
        self.cloud = Cloud(self.world, limiter=Limiter(plenty))
        self.impatient = False
        self.policy = policy
        self.backend = backend

    async def locate(self, fleet: "Fleet") -> Host:
        return Host(self.droplets[0].id, "eth1", "eth0")

    async def cycles(self, *before: "Callable[[], object]") -> "list[tuple[Outcome, int, set[str]]]":
        """Run a cycle after each of these; each with the generation and the peers in the kernel."""
        found = []
        async with LabServer(self.cloud) as server:
            source = DigitalOcean(
                server.url, LAB_TOKEN, now=lambda: 1000.0, deadline=PATIENCE, page_cap=4 * 2**20
            )
            cycle = Cycle(self.policy, source, self, self.backend)
            try:
                for step in before:
                    step()
                    source._deadline = 1.0 if self.impatient else PATIENCE
                    outcome = await cycle.run()
                    found.append((outcome, self.backend.generation(), self.peers))
            finally:
                await source.aclose()
        return found

    @property
    def peers(self) -> set[str]:
        ruleset = self.backend.observe().ruleset
        assert ruleset
        return {format_address(element) for element in ruleset.sets["private-peers-4"].elements}

    def addresses(self) -> set[str]:
        """The peers by the account."""
        others = (d for d in self.world.droplets.values() if d.id != self.droplets[0].id)
        return {str(droplet.address("private")) for droplet in others}

    def leave(self) -> None:
        """One Droplet of the last page is destroyed, and another is made: all totals stay."""
        self.world.destroy_droplet(self.droplets[-1].id)
        self.world.add_droplet("fresh", vpc=self.vpc.id, tags=("web",))


def _nothing() -> None:
    pass


def _unharmed(site: Site, case: Case) -> None:
    """A good cycle, the fault in a changed account, and all well again."""
    members = site.addresses()

    def break_it() -> None:
        site.leave()
        site.cloud.faults.add(case.fault)
        site.impatient = case.reason == "deadline"

    def mend() -> None:
        site.cloud.faults.clear()
        site.impatient = False

    good, broken, mended = asyncio.run(site.cycles(_nothing, break_it, mend))
    assert (Committed, members) == (type(good[0]), good[2])
    assert isinstance(broken[0], Failed | Refused), broken[0]
    assert case.reason == broken[0].error.reason
    assert (good[1], members) == broken[1:]
    assert (Committed, site.addresses()) == (type(mended[0]), mended[2])


@pytest.mark.fault("A1", "A2", "A4", "A8", "A9", "A10", "A11", "A12", "A13", "A15", "A18", "B1")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_broken_answer_changes_nothing(case: Case) -> None:
    """Failed or Refused with its own reason, generation and peers as before; the next good answer counts."""
    _unharmed(Site(case.policy, FakeBackend()), case)


@pytest.mark.fault("A1", "A9", "A13")
@pytest.mark.kernel
@pytest.mark.parametrize("name", ["status-500", "none-at-all", "cut", "401", "vpcs-hidden", "page-2-empty"])
def test_a_broken_answer_leaves_the_kernel_alone(namespace: "Namespace", name: str) -> None:
    """The same over the real kernel: its own generation is the witness."""
    namespace.run("ip", "link", "set", "lo", "up")
    backend = namespace.call(NftBackend)
    try:
        namespace.call(_unharmed, Site(CASES[name].policy, backend), CASES[name])
    finally:
        namespace.call(backend.close)


def test_no_scripted_fault_is_left_out() -> None:
    """Every effect that the lab can script over HTTP stands in the table above."""
    made = {type(effect).__name__ for effect in (case.fault.effect for case in CASES.values())}
    delivered = {type(c.fault.effect.delivery) for c in CASES.values() if isinstance(c.fault.effect, Deliver)}
    assert {"Status", "Delay", "Headers", "Edit", "Without", "Deliver"} == made
    assert {Drip, Cut, Misdeclare, Bomb, Endless, BlackHole, Reset, Verbatim} == delivered
    known = {
        "status",
        "delay",
        "html",
        "empty",
        "garbage",
        "redirect",
        "headers",
        "total",
        "next_link",
        "without",
    }
    assert known | {"drip", "cut", "misdeclare", "bomb", "endless", "black_hole", "reset"} == set(EFFECTS)


@pytest.mark.fault("A8")
def test_a_foreign_link_is_never_followed() -> None:
    """A server that a `next` link or a redirect names hears nothing, least of all the token."""
    with socket.create_server(("127.0.0.1", 0)) as sink:
        sink.settimeout(0.2)
        url = f"http://127.0.0.1:{sink.getsockname()[1]}/v2/droplets?page=2"
        for effect in (next_link(url), redirect(url)):
            _unharmed(
                Site(Policy(), FakeBackend()),
                Case(
                    "foreign_next" if isinstance(effect, Edit) else "redirect", Fault(effect, path=DROPLETS)
                ),
            )
        with pytest.raises(TimeoutError):
            sink.accept()


@pytest.mark.parametrize("lost", [0, 100, 199], ids=["first", "middle", "last"])
def test_a_deletion_between_two_pages_takes_no_live_droplet(lost: int) -> None:
    """Whoever slips from page 2 to page 1 while we read is not gone: the list is read again."""
    site = Site(Policy(), FakeBackend())
    gone = site.droplets[lost + 1]

    def shrink() -> None:
        site.cloud.faults.add(
            Fault(
                Afterwards(lambda w: w.destroy_droplet(gone.id)),
                path=DROPLETS,
                type="droplets",
                page=1,
                times=1,
            )
        )

    (_, _, before), (outcome, _, after) = asyncio.run(site.cycles(_nothing, shrink))
    assert isinstance(outcome, Committed)
    assert before - {str(gone.address("private"))} == after


@pytest.mark.fault("A10")
def test_a_token_without_scopes_changes_nothing() -> None:
    """A full token that becomes one of fewer scopes: each loss is named, and nobody is taken away."""
    site = Site(TAGGED, FakeBackend())

    def only(*scopes: str) -> "Callable[[], None]":
        def change() -> None:
            site.cloud.tokens = Tokens({LAB_TOKEN: scoped(*scopes)})

        return change

    every = ("droplet:read", "tag:read", "vpc:read", "vpc_peering:read")
    steps = [only(*(scope for scope in every if scope != lost)) for lost in every]
    first, *rest = asyncio.run(site.cycles(_nothing, *steps))
    reasons = [o.error.reason for o, _, _ in rest if isinstance(o, Failed | Refused)]
    assert ["forbidden", "tags_hidden", "forbidden", "forbidden"] == reasons
    scopes = [getattr(o.error, "scope", None) for o, _, _ in rest if isinstance(o, Failed | Refused)]
    assert ["droplet:read", None, "vpc:read", "vpc_peering:read"] == scopes
    assert [first[1:]] * 4 == [found[1:] for found in rest]


@pytest.mark.fault("A16")
def test_one_odd_droplet_costs_nobody() -> None:
    """An entry that cannot be read is carried over; the others come and go as they do."""
    site = Site(Policy(), FakeBackend())
    odd = site.droplets[7].id

    def spoil() -> None:
        site.world.change_droplet(odd, extra={"networks": "none of your business"})
        site.leave()

    (_, _, _), (outcome, _, peers), (again, generation, _), (last, after, _) = asyncio.run(
        site.cycles(_nothing, spoil, _nothing, _nothing)
    )
    assert [Committed, Unchanged, Unchanged] == [type(outcome), type(again), type(last)]
    assert site.addresses() == peers
    assert generation == after
