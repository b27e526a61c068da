"""A whole lab without daemons: the machines follow the account, and the account is the API's."""

import asyncio
import json
import socket
import ssl
import subprocess
import tomllib
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from droplan_daemon.errors import Fatal
from droplan_daemon.lab.client import Client, connected
from droplan_daemon.lab.daemons import Daemon
from droplan_daemon.lab.netns import Namespace
from droplan_daemon.lab.probe import Question, Verdict, ask
from droplan_daemon.lab.site import DAEMON_TOKEN, PORTS, Site
from droplan_daemon.lab.tutorial import SERVERS, tutorial
from droplan_daemon.lab.world import World

pytestmark = pytest.mark.kernel

NAMES = [name for name, _ in SERVERS]


def staged(
    scene: Callable[[Site, Client], Awaitable[None]], world: World | None = None, *, ghosts: bool = False
) -> None:
    """Run a scene on a Site whose machines follow the account."""

    async def play() -> None:
        async with (
            Site(world or tutorial()[0], ghosts=ghosts) as site,
            connected(site.local_url, site.ca_file) as client,
        ):
            await scene(site, client)

    asyncio.run(play())


async def fetched(machine: Namespace, url: str, ca_file: Path | None = None, token: str = "") -> object:
    """What a GET from inside a machine answers, as JSON."""

    def get() -> object:
        trust = ssl.create_default_context(cafile=ca_file) if ca_file else None
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=5, context=trust) as answer:
            return json.load(answer)

    return await asyncio.to_thread(machine.call, get)


def test_every_droplet_has_a_machine_that_answers() -> None:
    """On its private and its public addresses, on each of the lab's ports."""

    async def scene(site: Site, _: Client) -> None:
        assert NAMES == list(site.homes)
        origin = site.homes["tunnel-1"].machine
        for address in ("10.10.0.15", "203.0.113.15", "2001:db8::15"):
            for port in PORTS:
                assert Verdict.OPEN == await ask(Question(origin, address, port))

    staged(scene)


def test_a_machine_learns_who_it_is_and_reads_the_fleet() -> None:
    """The metadata service knows it by its address; the API takes the daemon's token, over TLS."""

    async def scene(site: Site, _: Client) -> None:
        home = site.homes["mysql-1"]
        told = await fetched(home.machine, "http://169.254.169.254/metadata/v1.json")
        assert isinstance(told, dict)
        assert home.droplet.id == told["droplet_id"]
        listed = await fetched(home.machine, f"{site.url}/v2/droplets", site.ca_file, DAEMON_TOKEN)
        assert isinstance(listed, dict)
        assert NAMES == [droplet["name"] for droplet in listed["droplets"]]

    staged(scene)


def test_the_daemons_token_can_read_only() -> None:
    """What is in a Droplet's token file is refused when it wants to create something."""

    async def scene(site: Site, _: Client) -> None:
        token = (site.homes["mysql-1"].folder / "token").read_text().strip()
        trust = ssl.create_default_context(cafile=site.ca_file)
        request = urllib.request.Request(
            f"{site.local_url}/v2/droplets",
            data=b'{"name": "x"}',
            headers={"Authorization": f"Bearer {token}"},
            method="POST",
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            await asyncio.to_thread(urllib.request.urlopen, request, timeout=5, context=trust)
        caught.value.close()
        assert 403 == caught.value.code
        assert 0o600 == (site.homes["mysql-1"].folder / "token").stat().st_mode & 0o777

    staged(scene)


def test_what_a_machine_saves_stays_in_the_lab() -> None:
    """Its configuration names files of its own folder for each kind of rules, whatever the policy says."""

    async def scene(site: Site, _: Client) -> None:
        folder = site.homes["mysql-1"].folder
        persist = tomllib.loads((folder / "droplan.toml").read_text())["persist"]
        assert {"rules_v4", "rules_v6", "ipsets"} == set(persist)
        assert {folder / "iptables"} == {Path(path).parent for path in persist.values()}
        assert (folder / "iptables").is_dir()

    staged(scene)


def test_machines_follow_the_account() -> None:
    """What is created through the API gets a machine, what is destroyed loses it, and `changed` is told."""

    async def scene(site: Site, client: Client) -> None:
        told: list[list[str]] = []
        site.changed = lambda: told.append(list(site.homes))
        number = await client.create("web-1", vpc=await client.first_vpc(), tags=("web",))
        await site.settle()
        assert Verdict.OPEN == await ask(Question(site.homes["web-1"].machine, "10.10.0.15", 22))
        await client.destroy(number)
        await site.settle()
        await site.settle()
        assert [[*NAMES, "web-1"], NAMES] == told
        assert NAMES == list(site.topology.machines)

    staged(scene)


def test_following_settles_by_itself() -> None:
    """Without being asked, within moments."""

    async def scene(site: Site, client: Client) -> None:
        told = asyncio.Event()
        site.changed = told.set
        following = asyncio.create_task(site.follow())
        await client.create("web-1", vpc=await client.first_vpc())
        await asyncio.wait_for(told.wait(), 5)
        assert "web-1" in site.homes
        following.cancel()

    staged(scene)


def test_a_ghost_keeps_its_machine_and_its_name() -> None:
    """With `ghosts` a destroyed Droplet's machine stays on the wires; a namesake is another machine."""

    async def scene(site: Site, client: Client) -> None:
        (number,) = await client.named("wordpress-2")
        await client.destroy(number)
        await site.settle()
        assert ["wordpress-2"] == list(site.ghosts)
        ghost = site.ghosts["wordpress-2"].machine
        assert Verdict.OPEN == await ask(Question(ghost, "10.10.0.15", 22))
        again = await client.create("wordpress-2", vpc=await client.first_vpc())
        await site.settle()
        assert f"wordpress-2-{again}" in site.homes

    staged(scene, ghosts=True)


def test_two_droplets_of_one_name_are_two_machines() -> None:
    """DigitalOcean does not make names unique, so the lab does not rely on it."""
    world, vpc = tutorial()
    twin = world.add_droplet("mysql-1", vpc=vpc.id)

    async def scene(site: Site, _: Client) -> None:
        assert [*NAMES, f"mysql-1-{twin.id}"] == list(site.homes)

    staged(scene, world)


def test_peered_vpcs_reach_each_other_and_others_do_not() -> None:
    """By the private addresses; a Droplet without a public interface reaches API and metadata too."""
    world = World()
    home, away, other = (
        world.add_vpc(name, ip_range=f"10.{n}.0.0/20")
        for name, n in (("home", 10), ("away", 20), ("other", 30))
    )
    world.peer(home.id, away.id)
    for vpc in (home, away, other):
        world.add_droplet(f"in-{vpc.name}", vpc=vpc.id)
    inner = world.add_droplet("inner", vpc=home.id, public=None)

    async def scene(site: Site, _: Client) -> None:
        machine = site.homes["in-home"].machine
        assert Verdict.OPEN == await ask(Question(machine, "10.20.0.2", 22))
        assert Verdict.OPEN != await ask(Question(machine, "10.30.0.2", 22), patience=0.3)
        alone = site.homes["inner"].machine
        told = await fetched(alone, "http://169.254.169.254/metadata/v1.json")
        assert isinstance(told, dict)
        assert inner.id == told["droplet_id"]
        assert await fetched(alone, f"{site.url}/v2/droplets", site.ca_file, DAEMON_TOKEN)

    staged(scene, world)


def test_leaving_gives_every_file_and_descriptor_back() -> None:
    """A Droplet that goes leaves no descriptor, and three labs leave no folder either."""

    async def scene(site: Site, client: Client) -> None:
        folders.append(site.folder)
        vpc = await client.first_vpc()  # from now on the client's connection is open
        before = descriptors()
        for _ in range(3):
            number = await client.create("web-1", vpc=vpc)
            await site.settle()
            assert before < descriptors()
            await client.destroy(number)
            await site.settle()
            assert before == descriptors()

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    folders: list[Path] = []
    staged(scene)
    before = descriptors()
    staged(scene)
    staged(scene)
    assert before == descriptors()
    assert [] == [folder for folder in folders if folder.exists()]


def test_a_refused_request_is_one_sentence() -> None:
    """The API's own reason, as a Fatal; likewise when nobody answers."""

    async def scene(site: Site, client: Client) -> None:
        with pytest.raises(Fatal, match="404"):
            await client.destroy(1)
        with pytest.raises(Fatal, match=r"422.*vpc_uuid"):
            await client.create("x", vpc="nowhere")

    staged(scene)

    async def too_late() -> None:
        async with Site(tutorial()[0]) as site:
            url, ca_file = site.local_url, site.folder.parent / "ca-copy.pem"
            ca_file.write_bytes(site.ca_file.read_bytes())
        try:
            async with connected(url, ca_file) as client:
                with pytest.raises(Fatal, match="does not answer"):
                    await client.first_vpc()
        finally:
            ca_file.unlink()

    asyncio.run(too_late())


def test_a_daemon_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Fatal with its exit code and the last line that it printed."""
    (tmp_path / "droplan.toml").write_text("nonsense = 1\n")

    async def play() -> None:
        with Namespace("alone") as alone:
            daemon = Daemon(alone, tmp_path)
            await daemon.start()
            with pytest.raises(Fatal, match="daemon of alone ended with 78: "):
                await daemon.ready()
            await daemon.stop()
            with pytest.raises(Fatal, match="droplan check failed in alone: "):
                await daemon.ask("check")

    asyncio.run(play())


def test_a_daemon_is_ready_when_it_says_so_and_not_before(tmp_path: Path) -> None:
    """With no API to ask there is no READY, and waiting has an end; stopping it is orderly."""
    (tmp_path / "droplan.toml").write_text(f'[source]\ntoken_file = "{tmp_path}/token"\n')
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("dop_v1_x")

    async def play() -> int | None:
        with Namespace("alone") as alone, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as another:
            daemon = Daemon(alone, tmp_path)
            await daemon.start()
            another.connect(str(tmp_path / "notify"))
            another.send(b"STATUS=no answer yet")
            with pytest.raises(Fatal, match="not ready"):
                await daemon.ready(deadline=1.5)
            another.send(b"STATUS=well\nREADY=1")
            assert 1.5 < await daemon.ready(deadline=30)
            await daemon.stop()
            return daemon.exit_code

    assert 0 == asyncio.run(play())


def test_the_shortcut_is_the_droplan_of_its_machine(tmp_path: Path) -> None:
    """`droplan` in a shell inside has this machine's folders and configuration."""
    (tmp_path / "droplan.toml").write_text('mode = "audit"\n')
    with Namespace("alone") as alone:
        shortcut = Daemon(alone, tmp_path).write_shortcut() / "droplan"
        done = subprocess.run([shortcut, "check"], capture_output=True, text=True, timeout=30, check=False)
    assert str(tmp_path / "droplan.toml") in done.stdout + done.stderr


def test_the_shortcut_migrates_nothing(tmp_path: Path) -> None:
    """For the machine has this machine's disk: it is refused as wrong usage, but for --dry-run."""
    with Namespace("alone") as alone:
        shortcut = str(Daemon(alone, tmp_path).write_shortcut() / "droplan")
    real = subprocess.run([shortcut, "migrate"], capture_output=True, text=True, timeout=30, check=False)
    (tmp_path / "droplan.toml").touch()
    dry = [shortcut, "migrate", "--dry-run", "--root", str(tmp_path)]
    tried = subprocess.run(dry, capture_output=True, text=True, timeout=30, check=False)
    assert (2, True) == (real.returncode, "--dry-run" in real.stderr)
    assert 0 == tried.returncode, tried.stderr


@pytest.mark.parametrize("words", [["--config", "mine.toml"], ["--config=mine.toml"]])
def test_the_shortcut_takes_a_configuration_of_ones_own(tmp_path: Path, words: list[str]) -> None:
    """Who names a file means that one."""
    (tmp_path / "droplan.toml").write_text('mode = "audit"\n')
    (tmp_path / "mine.toml").write_text('[source]\nkind = "file"\npath = "/x"\n')
    with Namespace("alone") as alone:
        shortcut = Daemon(alone, tmp_path).write_shortcut() / "droplan"
        command = [str(shortcut), "check", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (0, True) == (done.returncode, "\nmine.toml: good" in done.stdout)
