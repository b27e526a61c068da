"""Questions to a network, asked through a real kernel; nftables plays the firewall."""

import asyncio
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.lab.probe import Pulse, Question, Verdict, ask, ask_all
from droplan_daemon.lab.talk import Service, converse
from droplan_daemon.lab.topology import Machine, Nic, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.lab.netns import Namespace

pytestmark = pytest.mark.kernel

BUSY = 1.0
"""Seconds by which a moment may be told wrong on a busy machine, and by which others differ from it."""


@pytest.fixture
def pair() -> "Iterator[tuple[Namespace, Namespace]]":
    """Two machines on one wire: 10.0.0.1 (fd00::1) and 10.0.0.2 (fd00::2)."""
    with Topology() as topology:
        topology.add_segment("wire")
        yield tuple(  # type: ignore[misc]
            topology.add(
                Machine(
                    name,
                    (Nic("eth0", f"04:01:00:00:00:0{n}", "wire", (f"10.0.0.{n}/24", f"fd00::{n}/64")),),
                )
            )
            for n, name in ((1, "one"), (2, "two"))
        )


def nft(machine: "Namespace", script: str) -> None:
    machine.call(subprocess.run, ["nft", "-f", "-"], input=script.encode(), check=True, timeout=10)


def drop_inbound(machine: "Namespace") -> None:
    nft(
        machine,
        "table inet t { chain c {"
        "type filter hook prerouting priority -150; iifname eth0 meta l4proto tcp drop; }; }",
    )


def test_every_verdict_is_what_the_connecting_program_saw(pair: "tuple[Namespace, Namespace]") -> None:
    """Answered, refused, silence and no route are four things, on IPv4 and IPv6."""
    one, two = pair

    async def scenario() -> None:
        async with Service(two, 80):
            assert Verdict.OPEN == await ask(Question(one, "10.0.0.2", 80))
            assert Verdict.OPEN == await ask(Question(one, "fd00::2", 80))
            assert Verdict.REFUSED == await ask(Question(one, "10.0.0.2", 81))
            assert Verdict.UNREACHABLE == await ask(Question(one, "10.9.9.9", 80))
            drop_inbound(two)
            assert Verdict.DROPPED == await ask(Question(one, "10.0.0.2", 80), patience=0.2)
            assert Verdict.DROPPED == await ask(Question(one, "fd00::2", 80), patience=0.2)

    asyncio.run(scenario())


def test_silence_costs_its_patience_once(pair: "tuple[Namespace, Namespace]") -> None:
    """Forty questions into silence take as long as one, not forty times as long."""
    one, two = pair
    drop_inbound(two)
    questions = [Question(one, "10.0.0.2", port) for port in range(1, 41)]
    begun = time.monotonic()
    answers = asyncio.run(ask_all(questions, patience=0.4))
    assert time.monotonic() - begun < 8
    assert dict.fromkeys(questions, Verdict.DROPPED) == answers


def test_a_pulse_tells_when_a_door_opens(pair: "tuple[Namespace, Namespace]") -> None:
    """The moment of the first answer is that when the rule went away, not that when somebody asks."""
    one, two = pair

    async def scenario() -> float:
        drop_inbound(two)
        async with Service(two, 80), Pulse(Question(one, "10.0.0.2", 80)) as pulse:
            await asyncio.sleep(0.3)
            assert pulse.first is None
            nft(two, "delete table inet t")
            opened = time.monotonic()
            await pulse.opened(deadline=20)
            await asyncio.sleep(BUSY)
            return await pulse.opened(deadline=20) - opened

    assert -0.05 < asyncio.run(scenario()) < BUSY


def test_a_pulse_tells_when_a_door_closes(pair: "tuple[Namespace, Namespace]") -> None:
    """The moment of the last answer is that when the rule came, not that when silence was long enough."""
    one, two = pair

    async def scenario() -> float:
        async with Service(two, 80), Pulse(Question(one, "10.0.0.2", 80)) as pulse:
            await pulse.opened(deadline=20)
            drop_inbound(two)
            closed = time.monotonic()
            return await pulse.closed(deadline=20, quiet=BUSY) - closed

    assert -0.1 < asyncio.run(scenario()) < BUSY


def test_a_pulse_gives_up_at_its_deadline(pair: "tuple[Namespace, Namespace]") -> None:
    """A door that never opens, or never closes, is a TimeoutError."""
    one, two = pair

    async def scenario() -> None:
        async with Service(two, 80):
            async with Pulse(Question(one, "10.0.0.2", 81)) as shut:
                with pytest.raises(TimeoutError):
                    await shut.opened(deadline=0.3)
            async with Pulse(Question(one, "10.0.0.2", 80)) as open_:
                with pytest.raises(TimeoutError):
                    await open_.closed(deadline=0.6, quiet=0.3)

    asyncio.run(scenario())


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
def test_both_ends_of_a_conversation_hear_each_other(
    pair: "tuple[Namespace, Namespace]", address: str
) -> None:
    """Bytes arrive at both ends without pause for as long as nothing is in the way."""
    one, two = pair

    async def scenario() -> tuple[int, int]:
        async with Service(two, 3306) as service:
            conversation = await converse(one, address, service)
            before = conversation.caller.heard, conversation.listener.heard
            more, end = (0, 0), time.monotonic() + 20
            while time.monotonic() < end:
                await asyncio.sleep(0.05)
                more = conversation.caller.heard - before[0], conversation.listener.heard - before[1]
                if min(more) > 1000:
                    break
            conversation.hang_up()
            return more

    assert all(heard > 1000 for heard in asyncio.run(scenario()))


def test_a_conversation_tells_when_it_was_cut(pair: "tuple[Namespace, Namespace]") -> None:
    """The listener's last word was heard when the rule came that drops, and no byte follows."""
    one, two = pair

    async def scenario() -> float:
        async with Service(two, 3306) as service:
            conversation = await converse(one, "10.0.0.2", service)
            await asyncio.sleep(0.1)
            drop_inbound(two)
            cut = time.monotonic()
            last = await conversation.silent(deadline=20, quiet=BUSY)
            heard = conversation.listener.heard
            await asyncio.sleep(0.3)
            assert heard == conversation.listener.heard
            conversation.hang_up()
            return last - cut

    assert -0.1 < asyncio.run(scenario()) < BUSY


def test_a_conversation_that_goes_on_is_not_cut(pair: "tuple[Namespace, Namespace]") -> None:
    """Waiting for silence on an open connection ends at the deadline."""
    one, two = pair

    async def scenario() -> None:
        async with Service(two, 3306) as service:
            conversation = await converse(one, "10.0.0.2", service)
            with pytest.raises(TimeoutError):
                await conversation.silent(deadline=0.6)
            conversation.hang_up()

    asyncio.run(scenario())


def test_no_conversation_without_a_way_through(pair: "tuple[Namespace, Namespace]") -> None:
    """Calling into silence is a TimeoutError after its patience."""
    one, two = pair

    async def scenario() -> None:
        async with Service(two, 3306) as service:
            drop_inbound(two)
            with pytest.raises(TimeoutError):
                await converse(one, "10.0.0.2", service, patience=0.3)

    asyncio.run(scenario())
