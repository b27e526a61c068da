"""What keeps the daemon small."""

import asyncio
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.fake import FakeBackend
from droplan_daemon.lab.digitalocean import DigitalOcean as Cloud
from droplan_daemon.lab.fleets import big_fleet
from droplan_daemon.lab.server import LabServer
from droplan_daemon.lean import bare, stand_in
from droplan_daemon.model.fleet import Droplet, Fleet
from droplan_daemon.model.host import Host
from droplan_daemon.model.policy import Policy
from droplan_daemon.outcomes import Committed, Unchanged
from droplan_daemon.reconcile import Cycle
from droplan_daemon.sources.cookies import NoCookies
from droplan_daemon.sources.digitalocean import DigitalOcean
from droplan_daemon.sources.http import authorities
from droplan_daemon.sources.payloads import Shared

if TYPE_CHECKING:
    from pathlib import Path


def _run(program: str) -> str:
    """What a fresh interpreter prints; command line toolkits of developers are not there."""
    blocked = "import sys; sys.modules.update(click=None, rich=None)\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_a_daemon_loads_nothing_that_it_does_not_use() -> None:
    """Plugins, cookies, mail, compressors, other people's sockets, near misses and the lab stay away."""
    program = """
import droplan_daemon.cli
import droplan_daemon.cli.commands, droplan_daemon.cli.wiring, droplan_daemon.daemon
import droplan_daemon.herald, droplan_daemon.logs, droplan_daemon.notify
import droplan_daemon.backends.nft, droplan_daemon.backends.iptables_host, droplan_daemon.sources.digitalocean
import droplan_daemon.sources.host, droplan_daemon.sources.links, droplan_daemon.sources.metadata
from droplan_daemon.sources.http import Endpoint
Endpoint("https://127.0.0.1:1", name="nobody", cap=1, now=float)._opened()
unwanted = ("droplan_daemon.lab", "importlib.metadata", "zipfile", "http.client", "http.cookiejar",
            "urllib.request", "email.message", "difflib", "pickle", "zoneinfo", "multiprocessing",
            "pyroute2.netlink.nlsocket", "droplan_daemon.metrics", "prometheus_client", "wsgiref",
            "droplan_daemon.doctor", "droplan_daemon.sources.probing", "shutil", "bz2", "lzma",
            "tempfile", "certifi", "importlib.resources", "argparse", "gettext")
print([name for name in unwanted if name in sys.modules])
"""
    assert "[]" == _run(program)


def test_what_was_stood_in_for_is_there_for_those_who_ask_later() -> None:
    """The interpreter is as if nothing had been done, the parent's attribute included."""
    program = """
from droplan_daemon.lean import bare, stand_in
with bare("email"), stand_in("http.cookiejar", CookieJar="none"), stand_in("pickle", loads="none"):
    import http.cookiejar, email.errors, pickle
    assert pickle.loads == "none"
    assert http.cookiejar.CookieJar == "none"
    assert not hasattr(sys.modules["email"], "message_from_string")
assert "http.cookiejar" not in sys.modules and not hasattr(sys.modules["http"], "cookiejar")
import email, http.cookiejar, pickle
assert pickle.loads(pickle.dumps(1)) == 1
print(http.cookiejar.CookieJar.__name__, email.message_from_string.__name__)
"""
    assert "CookieJar message_from_string" == _run(program)


def test_what_is_loaded_already_is_left_alone() -> None:
    """Nobody's module is taken away under their hands."""
    before = sys.modules["asyncio"], sys.modules["os.path"]
    with bare("asyncio"), stand_in("os.path"):
        assert before == (sys.modules["asyncio"], sys.modules["os.path"])
    assert before == (sys.modules["asyncio"], sys.modules["os.path"])


def test_what_is_free_between_two_pieces_in_use_is_given_back() -> None:
    """40 MB in pieces of the C library's, of which the last one stays in use."""
    program = """
from droplan_daemon.lean import give_back
def resident():
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * 4096
pieces = [bytes(4000) for _ in range(10_000)]
last = pieces[-1]
pieces.clear()
before = resident()
give_back()
print(before - resident() > 30_000_000)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("malloc_trim is glibc's")
    assert "True" == _run(program)


def test_droplets_that_did_not_change_are_the_same_objects_in_the_next_fleet() -> None:
    """Two Fleets take hardly more memory than one; who changed is another object."""
    world = big_fleet(250, vpcs=1)
    changed, *_ = world.droplets

    async def poll() -> tuple[Fleet, Fleet]:
        async with LabServer(Cloud(world)) as server:
            source = DigitalOcean(server.url, Cloud.token, now=lambda: 0.0)
            try:
                first = await source.gather()
                world.tag(changed, "new")
                return first, await source.gather()
            finally:
                await source.aclose()

    first, second = asyncio.run(poll())
    others = {d.id: d for d in first.droplets if d.id != changed}
    assert len(others) == 249
    assert all(others[d.id] is d for d in second.droplets if d.id in others)
    assert second.droplet(changed) != first.droplet(changed)


@pytest.mark.parametrize("field", ["name", "tags", "region", "vpc", "private", "public"])
def test_a_droplet_that_changed_at_all_is_the_new_one(field: str) -> None:
    """Sharing never shows an old value."""
    address = b"\x0a\x00\x00\x01"
    values: dict[str, object] = {"name": "b", "tags": ("t",), "region": "r", "vpc": "v"}
    old = Droplet(1, "a")
    new = Droplet(1, **{"name": "a", field: values.get(field, (address,))})  # type: ignore[arg-type]
    assert new is Shared([old]).droplet(new)
    assert old is Shared([old]).droplet(Droplet(1, "a"))


def test_an_outcome_holds_its_ruleset_once() -> None:
    """What was read back equals what is desired; there is no second copy of ten thousand elements."""
    fleet = Fleet(tuple(Droplet(n, f"web-{n}", vpc="v", private=(bytes((10, 0, 0, n)),)) for n in (1, 2)))

    class Here:
        budget = None

        async def gather(self) -> Fleet:
            return fleet

        async def locate(self, _: Fleet) -> Host:
            return Host(1, private="eth1")

    cycle = Cycle(Policy(), Here(), Here(), FakeBackend())
    for expected in (Committed, Unchanged):
        outcome = asyncio.run(cycle.run())
        assert isinstance(outcome, Committed | Unchanged)
        assert expected is type(outcome)
        assert outcome.observation.ruleset is outcome.world.desired


def test_no_cookies_are_in_the_jar() -> None:
    """Whatever is put in."""
    jar = NoCookies()
    jar.extract_cookies(object(), object())
    jar.add_cookie_header(object())
    assert [] == list(jar)


def test_authorities_of_the_system_are_asked_one_by_one(tmp_path: "Path") -> None:
    """A folder with hashed names is not loaded as a whole; without one there are httpx's."""
    bundled = authorities(tmp_path)
    assert len(bundled.get_ca_certs()) > 50
    (tmp_path / "0123abcd.0").touch()
    system = authorities(tmp_path)
    assert [] == system.get_ca_certs()
    for trust in (bundled, system):
        assert (ssl.CERT_REQUIRED, True) == (trust.verify_mode, trust.check_hostname)
