"""The lab's wires and machines, in a real kernel."""

import errno
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyroute2 import IPRoute

from droplan_daemon.lab.netns import Namespace, gain_rights, remedy
from droplan_daemon.lab.topology import Machine, Nic, Route, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

EVERYTHING = (Route("0.0.0.0/0"), Route("::/0"))


def machine(name: str, number: int, *more: Nic) -> Machine:
    addresses = (f"203.0.113.{number}/24", f"2001:db8::{number:x}/64")
    return Machine(name, (Nic("eth0", f"04:01:00:00:{number:02x}:01", "internet", addresses), *more))


@pytest.fixture
def topology() -> "Iterator[Topology]":
    with Topology() as made:
        made.add_segment(
            "internet", ("203.0.113.1/24", "2001:db8::ffff/64", "169.254.169.254/32"), EVERYTHING
        )
        yield made


def links_of(namespace: Namespace) -> dict[str, tuple[str, frozenset[str]]]:
    """Interfaces as the kernel has them: MAC and addresses, link-local ones left out."""

    def read() -> dict[str, tuple[str, frozenset[str]]]:
        with IPRoute() as routes:
            addresses: list[Any] = list(routes.get_addr())
            return {
                link.get_attr("IFLA_IFNAME"): (
                    link.get_attr("IFLA_ADDRESS"),
                    frozenset(
                        f"{a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}"
                        for a in addresses
                        if a["index"] == link["index"] and a["scope"] != 253
                    ),
                )
                for link in routes.get_links()
                if link.get_attr("IFLA_IFNAME") != "lo"
            }

    return namespace.call(read)


def connects(origin: Namespace, target: Namespace, address: str) -> bool:
    """Whether a TCP connection to a fresh listener of `target` succeeds within a second."""

    def attempt(port: int) -> bool:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            return False
        return True

    with target.listen("::", 0) as listening:
        return origin.call(attempt, listening.getsockname()[1])


def namespaces(pid: int | str = "self") -> set[str]:
    """The network namespaces of a process: those of its threads and those that it holds open."""
    found = set()
    for folder, pattern in (f"/proc/{pid}/task", "*/ns/net"), (f"/proc/{pid}/fd", "*"):
        with suppress(OSError):  # it may end while we look
            for path in Path(folder).glob(pattern):
                with suppress(OSError):
                    found.add(str(path.readlink()))
    return {name for name in found if name.startswith("net:")}


def everyones_namespaces() -> set[str]:
    return set().union(*(namespaces(process.name) for process in Path("/proc").glob("[0-9]*")))


def test_a_namespace_is_apart_and_the_main_thread_stays() -> None:
    """A new Namespace has nothing but its loopback, and the caller's own namespace is unchanged."""
    before = Path("/proc/self/ns/net").readlink()
    with Namespace("alone") as alone:
        assert {} == links_of(alone)
        assert before != alone.call(Path("/proc/thread-self/ns/net").readlink)
    assert before == Path("/proc/self/ns/net").readlink()


def test_a_socket_stays_in_the_namespace_where_it_was_made() -> None:
    """A listener made inside is not reachable from outside, whichever thread serves it."""
    with Namespace("alone") as alone, alone.listen("127.0.0.1", 0) as inside, socket.socket() as outside:
        assert errno.ECONNREFUSED == outside.connect_ex(("127.0.0.1", inside.getsockname()[1]))


def test_a_program_runs_inside_and_dies_with_its_namespace(tmp_path: Path) -> None:
    """A program started inside sees that namespace's interfaces only, and closing kills it."""
    with Namespace("alone") as alone:
        ls = alone.start(
            ["readlink", "/proc/self/ns/net"], environ={}, folder=tmp_path, output=subprocess.PIPE
        )
        there = str(alone.call(Path("/proc/thread-self/ns/net").readlink))
        assert f"{there}\n".encode() == ls.communicate(timeout=10)[0]
        sleeper = alone.start(["sleep", "600"], environ={}, folder=tmp_path)
    assert -9 == sleeper.wait(timeout=30)


KILLED = """
import pathlib, sys, time
from droplan_daemon.lab.topology import Machine, Nic, Topology
topology = Topology()
topology.add_segment("wire")
inside = topology.add(Machine("one", (Nic("eth0", "04:01:00:00:00:01", "wire", ("10.0.0.1/24",)),)))
sleeper = inside.start(["sleep", "600"], environ={}, folder=pathlib.Path("/"))
while pathlib.Path(f"/proc/{sleeper.pid}/comm").read_text() != "sleep\\n":
    time.sleep(0.001)
print(sleeper.pid, flush=True)
sys.stdin.read()
"""


def test_kill_9_leaves_nothing_behind() -> None:
    """When the lab's process is killed outright, its namespaces and the programs in them go too."""
    lab = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with lab:
        assert lab.stdout is not None
        sleeper = Path(f"/proc/{int(lab.stdout.readline())}")
        ours = namespaces(lab.pid) - namespaces()
        assert 2 == len(ours)
        lab.kill()
    deadline = time.monotonic() + 30
    while (sleeper.exists() or ours & everyones_namespaces()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not sleeper.exists()
    assert set() == ours & everyones_namespaces()


def test_a_machine_has_the_cards_that_it_was_given(topology: Topology) -> None:
    """Names, MACs and addresses inside a machine are those of its Nics, IPv6 usable at once."""
    topology.add_segment("vpc", ("10.10.0.1/20",))
    wanted = machine("one", 11, Nic("eth1", "04:01:00:00:11:02", "vpc", ("10.10.0.11/20",)))
    inside = topology.add(wanted)
    assert {nic.name: (nic.mac, frozenset(nic.addresses)) for nic in wanted.nics} == links_of(inside)


def test_machines_of_one_segment_reach_each_other(topology: Topology) -> None:
    """Over IPv4 and IPv6 alike, at once after they were added."""
    one, two = topology.add(machine("one", 11)), topology.add(machine("two", 12))
    assert connects(one, two, "203.0.113.12")
    assert connects(two, one, "2001:db8::b")


def test_segments_are_apart(topology: Topology) -> None:
    """A machine that is not plugged into a segment does not reach its addresses, by whatever route."""
    topology.add_segment("vpc", ("10.10.0.1/20",))
    member = topology.add(machine("member", 11, Nic("eth1", "04:01:00:00:11:02", "vpc", ("10.10.0.11/20",))))
    stranger = topology.add(machine("stranger", 66))
    assert connects(stranger, member, "203.0.113.11")
    for route in EVERYTHING[0], Route("0.0.0.0/0", "203.0.113.1"):
        plan = Machine(
            "other", (Nic("eth0", "04:01:00:00:67:01", "internet", ("203.0.113.67/24",), (route,)),)
        )
        assert not connects(topology.add(plan), member, "10.10.0.11")
        topology.remove("other")


def test_the_provider_answers_at_the_metadata_address(topology: Topology) -> None:
    """169.254.169.254 is on the wire, and the provider sees the asker's own address."""
    nic = Nic("eth0", "04:01:00:00:11:01", "internet", ("198.51.100.7/32",), EVERYTHING)
    asker = topology.add(Machine("asker", (nic,)))
    with topology.provider.listen("169.254.169.254", 80) as listening:
        asking = asker.open_socket(socket.AF_INET)
        with asking:
            asking.setblocking(True)
            asking.settimeout(2)
            asking.connect(("169.254.169.254", 80))
            listening.settimeout(2)
            answered, address = listening.accept()
            answered.close()
    assert "198.51.100.7" == address[0]


def test_the_provider_routes_between_segments_for_those_who_have_a_route(topology: Topology) -> None:
    """Two private segments are joined by routes through the provider, the source address kept."""
    topology.add_segment("vpc-a", ("10.10.0.1/20",), routed=True)
    topology.add_segment("vpc-b", ("10.20.0.1/20",), routed=True)
    over = {"vpc-a": Route("10.20.0.0/20", "10.10.0.1"), "vpc-b": Route("10.10.0.0/20", "10.20.0.1")}
    a = topology.add(
        Machine("a", (Nic("eth1", "04:01:00:00:0a:02", "vpc-a", ("10.10.0.5/20",), (over["vpc-a"],)),))
    )
    b = topology.add(
        Machine("b", (Nic("eth1", "04:01:00:00:0b:02", "vpc-b", ("10.20.0.5/20",), (over["vpc-b"],)),))
    )
    assert connects(a, b, "10.20.0.5")
    assert connects(b, a, "10.10.0.5")


def test_machines_come_and_go_while_others_talk(topology: Topology) -> None:
    """Adding and removing machines leaves an open connection between two others alone."""
    one, two = topology.add(machine("one", 11)), topology.add(machine("two", 12))
    with two.listen("::", 7000) as listening, one.open_socket(socket.AF_INET) as calling:
        calling.setblocking(True)
        calling.settimeout(2)
        calling.connect(("203.0.113.12", 7000))
        listening.settimeout(2)
        called, _ = listening.accept()
        with called:
            for round_ in range(3):
                topology.add(machine("guest", 20 + round_))
                topology.remove("guest")
                calling.sendall(b"still here")
                assert b"still here" == called.recv(64)
    assert ("one", "two") == topology.machines


def test_a_removed_machine_is_unreachable_at_once(topology: Topology) -> None:
    """Its wire is cut by `remove` itself, not when the kernel gets around to it."""
    one, two = topology.add(machine("one", 11)), topology.add(machine("two", 12))
    assert connects(one, two, "203.0.113.12")
    ports = len(links_of(topology.provider))
    topology.remove("two")
    assert ports - 1 == len(links_of(topology.provider))


def test_a_failed_machine_leaves_nothing(topology: Topology) -> None:
    """When a card cannot be made, the machine is not there and its name and ports are free again."""
    ports = links_of(topology.provider)
    with pytest.raises(ValueError, match="does not appear to be"):
        topology.add(machine("one", 11, Nic("eth1", "04:01:00:00:11:02", "internet", ("nonsense",))))
    assert () == topology.machines
    assert ports == links_of(topology.provider)
    topology.add(machine("one", 11))


def test_a_name_is_given_once(topology: Topology) -> None:
    """A second machine of the same name is refused and the first one stays."""
    topology.add(machine("one", 11))
    with pytest.raises(ValueError, match="one already"):
        topology.add(machine("one", 12))
    assert ip_interface("203.0.113.11/24") in map(
        ip_interface, links_of(topology.namespace("one"))["eth0"][1]
    )


def test_closing_gives_every_descriptor_and_namespace_back() -> None:
    """A topology that was built and closed ten times leaves no descriptor and no namespace."""
    with Topology():
        pass  # what the libraries open once and keep
    descriptors = len(tuple(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with Topology() as made:
            made.add_segment("internet")
            made.add(machine("one", 11))
            assert 3 <= len(namespaces())
    assert descriptors == len(tuple(Path("/proc/self/fd").iterdir()))
    # A thread that was joined is still listed for a moment.
    deadline = time.monotonic() + 30
    while len(namespaces()) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {str(Path("/proc/self/ns/net").readlink())} == namespaces()


UNPRIVILEGED = """
from droplan_daemon.lab.netns import gain_rights
from droplan_daemon.lab.topology import Machine, Nic, Topology
gain_rights()
with Topology() as topology:
    topology.add_segment("wire")
    topology.add(Machine("one", (Nic("eth0", "04:01:00:00:00:01", "wire", ("10.0.0.1/24",)),)))
    print(topology.machines)
"""


def test_an_ordinary_user_can_build_one_too() -> None:
    """Without a single privilege the lab works in a user namespace of its own."""
    become = (
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"] if os.geteuid() == 0 else []
    )
    done = subprocess.run(
        [*become, sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (0, "('one',)\n", "") == (done.returncode, done.stdout, done.stderr)


def test_who_has_the_rights_keeps_where_they_are() -> None:
    """With the capabilities already there, gaining rights changes nothing."""
    if os.geteuid() != 0:
        pytest.skip("needs root, who has them")
    before = Path("/proc/self/ns/user").readlink()
    gain_rights()
    assert before == Path("/proc/self/ns/user").readlink()


@pytest.mark.parametrize(
    ("switches", "advice"),
    [
        ({"kernel.unprivileged_userns_clone": "0"}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            {"kernel.unprivileged_userns_clone": "1", "kernel.apparmor_restrict_unprivileged_userns": "1"},
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"user.max_user_namespaces": "0"}, "sudo sysctl -w user.max_user_namespaces=10000"),
        ({"user.max_user_namespaces": "9000"}, "CAP_SYS_ADMIN"),
    ],
)
def test_the_remedy_names_the_switch_that_forbids(switches: dict[str, str], advice: str) -> None:
    """Whoever may not make namespaces reads one line with the sysctl to set and the way around it."""
    sentence = remedy(switches.get, "droplan")
    assert advice in sentence
    assert "sudo droplan lab" in sentence
    assert "\n" not in sentence
