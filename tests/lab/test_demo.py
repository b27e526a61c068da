"""`droplan lab` as a person runs it: the demonstration, every way out of it, and a lab to play with."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

LAB = [sys.executable, "-m", "droplan_daemon", "lab"]
ORDINARY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]

SHOWN = (
    r"^   everybody \(6\)        22 80 3306  22 80 3306  22 80 3306  22 80 3306  22 80 3306$",
    r"^     on tag:wordpress +from tag:haproxy +80/tcp +private$",
    r"^   haproxy-www                      drop        80          80          drop$",
    r"^   tunnel-1             22                      22          22          22$",
    r"^   mysql-1              drop        drop        22 80 3306  22 80 3306$",
    r"^   stranger in the VPC  drop        drop        drop        drop        drop$",
    r"^   haproxy-www                      drop        drop        drop        drop$",
    r"^   everybody else \(5\)   80          22          drop        drop        drop$",
    r"^   mysql-2              drop        drop        22 80 3306  22 80 3306$",
    r"^   wordpress-2 \(gone\)   drop        drop        drop        drop        drop$",
    r"^   Let in \d+\.\d\d s after the API's answer by the first of 3 Droplets, \d+\.\d\d s by the last\.$",
    r"^   Cut off \d+\.\d\d s after the API's answer by the first of 4 Droplets, \d+\.\d\d s by the last\.$",
    r"^   wordpress-1 and mysql-1 talked all the while: \d+ KiB one way, longest pause \d+ ms\.$",
    r"^   denied: haproxy-www \(10\.10\.0\.11\) to mysql-1 on the private network, 3306/tcp$",
    r"^   droplet: +mysql-1 ",
    r"^   denied: +[1-9][\d,]* packets on eth0",
    r"^   denied: +[1-9][\d,]* packets on eth1",
    r"^All as it must be, in \d+\.\d s; everything is cleaned up\.$",
)


@dataclass(frozen=True)
class Place:
    """Where a lab runs: the prefix that makes it somebody's, and a folder for all of its files."""

    become: list[str]
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        folders = {"RUNTIME_DIRECTORY": str(self.folder / "run"), "TMPDIR": str(self.folder)}
        return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm", **folders}

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.become, *LAB, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
        )

    def run(self, *words: str, program: Sequence[str] = LAB) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.become, *program, *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self.environ,
        )

    def programs(self) -> list[str]:
        """The programs that run with a file of this place; each of the lab's daemons does."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if f"{self.folder}/" in command:
                    found.append(command)
        return found


@contextmanager
def place_for(become: list[str]) -> Iterator[Place]:
    # Not pytest's own folder, which another user cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="lab-test-"))
    (folder / "files").mkdir()
    place = Place(become, folder / "files")
    if become:
        folder.chmod(0o755)
        os.chown(place.folder, 65534, 65534)
    try:
        yield place
        deadline = time.monotonic() + 30
        # The kernel ends killed processes in its own time.
        while place.programs() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [] == place.programs()
        assert [] == list(place.folder.iterdir())
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def place() -> Iterator[Place]:
    """Whoever runs the tests; nothing may be left when a test ends."""
    with place_for([]) as made:
        yield made


@pytest.fixture(params=[[], ORDINARY], ids=["as-is", "ordinary-user"])
def any_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Likewise, and once more as a user without any privilege."""
    if request.param and os.geteuid() != 0:
        pytest.skip("an ordinary user already")
    if request.param and not _open_to_everybody():
        pytest.skip("an ordinary user may not run this Python: it lies in a folder closed to others")
    with place_for(request.param) as made:
        yield made


def _open_to_everybody() -> bool:
    """Whether an ordinary user can start our interpreter; setpriv's own exec still has root's rights."""
    program = [*ORDINARY, "/bin/sh", "-c", 'exec "$0" -c ""', sys.executable]
    return subprocess.run(program, capture_output=True, timeout=60, check=False).returncode == 0


def namespaces(pid: int | str) -> set[str]:
    """The network namespaces of a process: those of its threads and those that it holds open."""
    found = set()
    for path in (*Path(f"/proc/{pid}/task").glob("*/ns/net"), *Path(f"/proc/{pid}/fd").glob("*")):
        with suppress(OSError):
            found.add(str(path.readlink()))
    return {name for name in found if name.startswith("net:")}


def everyones_namespaces() -> set[str]:
    return set().union(*(namespaces(process.name) for process in Path("/proc").glob("[0-9]*")))


def read_until(lab: "subprocess.Popen[str]", words: str) -> None:
    assert lab.stdout is not None
    for line in lab.stdout:
        if words in line:
            return
    pytest.fail(f"it ended without saying {words!r}: {lab.communicate()[1]}")


def test_the_demonstration_shows_what_droplan_is_for(any_place: Place) -> None:
    """Exit code 0 in less than a minute, on 100 columns, without colour or errors; nothing is left."""
    started = time.monotonic()
    done = any_place.run("demo")
    assert (0, "") == (done.returncode, done.stderr)
    assert 60 > time.monotonic() - started
    assert 100 >= max(map(len, done.stdout.splitlines()))
    assert "\x1b" not in done.stdout
    assert [] == [line for line in SHOWN if not re.search(line, done.stdout, re.MULTILINE)]


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("No firewall yet", signal.SIGINT),
        ("The daemon starts", signal.SIGTERM),
        ("A Droplet is created", signal.SIGHUP),
    ],
)
def test_a_signal_ends_it_in_good_order(place: Place, moment: str, number: signal.Signals) -> None:
    """At whatever moment, and however often: one line, exit code 1, no traceback, nothing left."""
    with place.begin("demo") as lab:
        read_until(lab, moment)
        time.sleep(0.1)
        deadline = time.monotonic() + 60
        while lab.poll() is None and time.monotonic() < deadline:
            lab.send_signal(number)
            time.sleep(0.01)
        output, errors = lab.communicate(timeout=30)
    assert (1, "") == (lab.returncode, errors)
    assert output.endswith("\nInterrupted; everything is cleaned up.\n")


def test_kill_9_leaves_no_namespace_and_no_daemon(place: Place) -> None:
    """Not even an outright kill in the middle leaves more than a folder in /tmp."""
    with place.begin("demo") as lab:
        read_until(lab, "A Droplet is created")
        ours = namespaces(lab.pid) - namespaces("self")
        assert 8 <= len(ours)
        assert 5 <= len(place.programs())
        lab.kill()
    deadline = time.monotonic() + 30
    while ours & everyones_namespaces() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set() == ours & everyones_namespaces()
    (folder,) = place.folder.iterdir()
    shutil.rmtree(folder)


def test_a_terminal_gets_colour(place: Place) -> None:
    """Green for what is open, on a terminal; a Ctrl-C that is typed there ends it in good order."""
    parent, child = pty.openpty()
    command = ["setsid", "--ctty", "--wait", *LAB, "demo"]
    with subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=place.environ) as lab:
        os.close(child)
        shown = b""
        while b"The daemon starts" not in shown:
            shown += os.read(parent, 65536)
        os.write(parent, b"\x03")
        assert 1 == lab.wait(timeout=60)
        shown += os.read(parent, 65536)
    os.close(parent)
    assert b"\x1b[32m22 80 3306\x1b[0m" in shown
    assert b"Interrupted; everything is cleaned up." in shown
    assert b"Traceback" not in shown


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ("[private]\nmanaged = false\n", "From haproxy-www to port 22 of tunnel-1 over eth1 is 'open'"),
        ("[public]\nmanaged = true\n", "From haproxy-www to port 22 of tunnel-1 over eth1 is 'open'"),
        ("[private]\nallow_peers = false\n", "From haproxy-www to port 22 of tunnel-1 over eth0 is 'open'"),
        (
            '[private]\nallow_peers=false\n[public]\nmanaged=true\noutbound="drop"\n[management]\nrequired=false',
            "From haproxy-www to port 80 of wordpress-1 over eth1 is 'drop'",
        ),
        ("nonsense = true\n", "The daemon of haproxy-www ended with 78"),
    ],
)
def test_what_is_not_as_it_must_be_ends_it(place: Place, tmp_path: Path, policy: str, complaint: str) -> None:
    """With a policy under which it would show a lie, it says so in one sentence and exits with 1."""
    (tmp_path / "droplan.toml").write_text(policy)
    code = (
        "import pathlib, sys; from droplan_daemon.lab import demo; from droplan_daemon.cli import main\n"
        f"demo.POLICY = pathlib.Path({str(tmp_path / 'droplan.toml')!r}); sys.exit(main(['lab', 'demo']))"
    )
    done = place.run("-c", code, program=[sys.executable])
    assert 1 == done.returncode
    assert done.stderr.startswith(f"droplan lab: {complaint}")
    assert 1 == done.stderr.count("\n")


def test_without_the_extra_it_says_what_to_install(place: Place) -> None:
    """One sentence that names droplan-daemon[lab]."""
    code = (
        "import sys; sys.modules['trustme'] = None\n"
        "from droplan_daemon.cli import main; sys.exit(main(['lab', 'demo']))"
    )
    done = place.run("-c", code, program=[sys.executable])
    assert (1, 1) == (done.returncode, done.stderr.count("\n"))
    assert "droplan-daemon[lab]" in done.stderr


def test_a_reader_that_goes_away_is_no_error(place: Place) -> None:
    """`droplan lab demo | head -1` ends early, quietly and without leftovers."""
    with place.begin("demo") as lab:
        assert lab.stdout is not None
        lab.stdout.readline()
        lab.stdout.close()
        assert lab.stderr is not None
        assert "" == lab.stderr.read()
        assert 1 == lab.wait(timeout=60)


def test_a_lab_that_is_left_running_can_be_played_with(any_place: Place) -> None:
    """create, enter, destroy and down from other processes; then it is gone, with exit code 0."""

    def lab(*words: str) -> tuple[int, str]:
        done = any_place.run(*words)
        return done.returncode, done.stdout + done.stderr

    with any_place.begin("up") as running:
        try:
            read_until(running, "_lab/faults")
            assert running.stdout is not None
            assert "\n" == running.stdout.readline()
            code, said = lab("create", "web-1", "--tag", "web")
            assert (0, True) == (code, said.startswith("web-1 is created"))
            assert running.stdout.readline().startswith("web-1 is here: nsenter ")
            peer = "import socket; socket.create_connection(('10.10.0.15', 3306), timeout=10)"
            assert (0, "") == lab("enter", "web-1", sys.executable, "-c", peer)
            stranger = peer.replace("timeout=10", "timeout=1")
            assert 1 == lab("enter", "stranger-vpc", sys.executable, "-c", stranger)[0]
            code, said = lab("enter", "mysql-1", "droplan", "status")
            assert (0, True) == (code, "mysql-1" in said)
            code, said = lab("up")
            assert (1, True) == (code, "running already" in said)
            code, said = lab("destroy", "web-1")
            assert (0, True) == (code, said.startswith("web-1 is destroyed"))
            assert "web-1 is gone.\n" == running.stdout.readline()
            code, said = lab("enter", "web-1")
            assert (1, True) == (code, "There is no machine named web-1" in said)
            assert (0, "The lab is gone.\n") == lab("down")
            assert 0 == running.wait(timeout=60)
        finally:
            running.terminate()
            output, _ = running.communicate(timeout=20)
    assert "\nThe lab is gone.\n" == output


def test_a_lab_takes_a_policy_and_a_fleet(place: Place, tmp_path: Path) -> None:
    """--config is every Droplet's policy, --fleet who there is; Ctrl-C ends it with 0."""
    policy, fleet = tmp_path / "droplan.toml", tmp_path / "fleet.json"
    allow = '[[allow]]\nname = "mail"\nfrom = "any"\nports = ["25/tcp"]\n'
    policy.write_text(f'mode = "audit"\n[source]\ninterval = "30s"\n{allow}')
    v4 = '[{"ip_address": "10.9.0.5", "netmask": "255.255.0.0", "type": "private"}]'
    fleet.write_text(f'[{{"name": "only-one", "networks": {{"v4": {v4}}}}}]')
    with place.begin("up", "--config", str(policy), "--fleet", str(fleet)) as running:
        try:
            read_until(running, "_lab/faults")
            done = place.run("enter", "only-one", "droplan", "status")
            assert (0, "") == (done.returncode, done.stderr)
            assert "only-one" in done.stdout
            assert "mode audit" in done.stdout
            assert '"mail"' in place.run("enter", "only-one", "droplan", "show").stdout
        finally:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=20)
    assert 0 == running.returncode


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "x"], 1, "No lab of yours is running"),
        (["destroy", "x"], 1, "No lab of yours is running"),
        (["enter", "x"], 1, "No lab of yours is running"),
        (["down"], 1, "No lab of yours is running"),
        (["up", "--config", "/nowhere.toml"], 78, "/nowhere.toml: the file does not exist"),
        (["up", "--fleet", "/nowhere.json"], 1, "Cannot read the fleet file /nowhere.json: No such file"),
        (["up", "--config", "/etc"], 78, "/etc: this is a folder, not a file"),
        (["nonsense"], 2, "invalid choice"),
        ([], 2, "required"),
    ],
)
def test_wrong_use_is_one_sentence(place: Place, words: list[str], code: int, said: str) -> None:
    """With DESIGN's exit code, and nothing half-done."""
    done = place.run(*words)
    assert (code, "", True) == (done.returncode, done.stdout, said in done.stderr)


def test_a_policy_that_is_no_toml_is_an_invalid_configuration(place: Place, tmp_path: Path) -> None:
    """Exit code 78, with the parser's place."""
    (tmp_path / "droplan.toml").write_text("[public\n")
    done = place.run("up", "--config", str(tmp_path / "droplan.toml"))
    assert (78, True) == (done.returncode, "droplan.toml:1:8: this is not TOML" in done.stderr)


def test_every_mistake_of_a_policy_is_told(place: Place, tmp_path: Path) -> None:
    """As `check` does, but for [source], which is the lab's own."""
    policy = tmp_path / "droplan.toml"
    policy.write_text("mod = 1\n[source]\nca_file = '/nowhere.pem'\n[[allow]]\nfrom = 'tag:'\n")
    done = place.run("up", "--config", str(policy))
    found = [line.split(": ")[0] for line in done.stderr.splitlines() if line.startswith(str(policy))]
    assert (78, [f"{policy}:1:1", f"{policy}:5:13"]) == (done.returncode, found)


def test_one_page_of_several_is_no_fleet(place: Place, tmp_path: Path) -> None:
    """A hint says how to get the whole."""
    fleet = tmp_path / "fleet.json"
    fleet.write_text('{"droplets": [{"name": "one"}], "meta": {"total": 3}}')
    done = place.run("up", "--fleet", str(fleet))
    assert (1, True) == (done.returncode, "has 1 of 3 Droplets" in done.stderr)
    assert "per_page=200" in done.stderr


def test_a_daemon_that_dies_is_told_and_started_again(place: Place) -> None:
    """Whoever kills one sees it come back."""
    with place.begin("up") as running:
        try:
            read_until(running, "_lab/faults")
            assert "mysql-1" in place.run("enter", "mysql-1", "droplan", "status").stdout
            (victim,) = _daemons(place, "mysql-1")
            time.sleep(3)  # one that ends at once would be left alone
            os.kill(victim, signal.SIGKILL)
            read_until(running, "The daemon of mysql-1 ended with -9")
            deadline = time.monotonic() + 60
            while not (found := _daemons(place, "mysql-1")) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert [victim] != found
            assert found
        finally:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=60)


def _daemons(place: Place, name: str) -> list[int]:
    found = place.run("enter", name, "sh", "-c", "echo $STATE_DIRECTORY").stdout.strip()
    folder = str(Path(found).parent)
    daemons = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"run" in words and f"{folder}/droplan.toml".encode() in words:
                daemons.append(int(process.name))
    return daemons
