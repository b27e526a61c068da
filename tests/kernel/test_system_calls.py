"""Every way in which a system call of a commit can go wrong, and what it comes to.

strace makes the calls fail. A first run without faults says which call of which thread is the one
of the commit; the second run, on a kernel as empty as before, has that one fail.
"""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel import committer
from tests.kernel.ground import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Namespace

ROOT = Path(__file__).parents[2]
DEADLINE = 0.5
# Asked to end, strace ends what it traces; killed, it would leave it behind.
STRACE = ("timeout", "30", "strace", "-f", "-qq")
_CALL = re.compile(r"^(\d+) +(\w+)\(")
_TRACED = "trace=sendto,recvfrom,poll,socket"

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


@dataclass
class Tracer:
    """Runs the committer, or droplan itself, in a namespace under strace."""

    kernel: Kernel
    folder: Path

    def run(self, *argv: str, inject: str = "") -> tuple[str, list[str]]:
        """What the program printed, and the calls that it made."""
        log = self.folder / "calls"
        faults = ("-e", f"inject={inject}") if inject else ()
        traced = (*STRACE, "-o", str(log), "-e", _TRACED, *faults)
        environment = ("env", f"PYTHONPATH={ROOT}", f"STATE_DIRECTORY={self.folder}")
        printed = self.kernel.namespace.run(*environment, *traced, sys.executable, *argv, check=False)
        return printed.strip(), [line for line in log.read_text().splitlines() if _CALL.match(line)]

    def faulted(self, mode: str, call: str, fault: str, mark: str, lasting: str = "") -> tuple[str, int]:
        """The outcome with the first such call, at or after the marked one of its thread, failing so.

        And the length of the commit. A fault that says LENGTH means that.
        """
        argv = (str(Path(committer.__file__)), mode, str(DEADLINE))
        healthy, calls = self.run(*argv)
        assert healthy in {"done", "Committed"}
        self.kernel.become(None)
        number, length = _located(calls, call, mark)
        outcome, _ = self.run(
            *argv, inject=f"{call}:{fault.replace('LENGTH', str(length))}:when={number}{lasting}"
        )
        return outcome, length


def _located(calls: list[str], call: str, mark: str) -> tuple[int, int]:
    """Which of its thread's calls of that name it is (from 1), and what the marked one returned."""
    at = next(index for index, line in enumerate(calls) if mark in line)
    whose = [_CALL.findall(line)[0] for line in calls[: at + 1]]
    mine = [made for made in whose[:at] if made == (whose[at][0], call)]
    return len(mine) + 1, int(calls[at].rsplit("= ", 1)[1].split()[0])


COMMIT = "NFNL_MSG_BATCH_BEGIN"
# call, fault; outcome of a bare commit and whether the kernel holds it then; of a whole cycle, which
# tries again, what is told of it.
FAULTS = {
    "send: no buffers": ("sendto", "error=ENOBUFS", "CommitUnsent unsent", False, "commit.retry"),
    "send: no memory": ("sendto", "error=ENOMEM", "CommitUnsent unsent", False, "commit.retry"),
    "send: too long": ("sendto", "error=EMSGSIZE", "CommitUnsent unsent", False, "commit.retry"),
    "send: refused": ("sendto", "error=ECONNREFUSED", "CommitUnsent unsent", False, "commit.retry"),
    "send: interrupted": ("sendto", "error=EINTR", "done", True, ""),
    "send: only a part": ("sendto", "retval=100", "CommitUnknown short_write", False, "commit.unknown"),
    "send: lost": ("sendto", "retval=LENGTH", "CommitUnknown no_reply", False, "commit.unknown"),
    "send: slow": ("sendto", "delay_enter=300000", "done", True, ""),
    "receive: no buffers": ("recvfrom", "error=ENOBUFS", "CommitUnknown overrun", True, "commit.unknown"),
    "receive: no memory": ("recvfrom", "error=ENOMEM", "CommitUnknown receive", True, "commit.unknown"),
    "receive: interrupted": ("recvfrom", "error=EINTR", "done", True, ""),
    "receive: the answer is late": ("poll", "retval=0", "CommitUnknown no_reply", True, "commit.unknown"),
    "receive: nothing yet": ("recvfrom", "error=EAGAIN", "done", True, ""),
}
_VERIFIED = {"commit.unknown": "commit.unknown commit.verified"}


@pytest.fixture
def tracer(namespace: "Namespace", tmp_path: Path) -> Tracer:
    made = Tracer(Kernel(namespace), tmp_path)
    try:
        made.run("-c", "pass")
    except FileNotFoundError:
        pytest.skip("strace may not trace here")
    return made


@pytest.fixture(autouse=True)
def _closed(tracer: Tracer) -> "Iterator[None]":
    yield
    tracer.kernel.close()


@pytest.mark.fault("D2", "D3", "D4", "D5", "D6")
@pytest.mark.parametrize("name", FAULTS)
def test_a_commit_with_a_fault(tracer: Tracer, name: str) -> None:
    """A failing call of a commit is the error that it should be; the kernel holds all or nothing."""
    call, fault, expected, held, _ = FAULTS[name]
    outcome, _ = tracer.faulted("commit", call, fault, COMMIT)
    assert expected == outcome
    assert (committer.WANTED if held else None) == tracer.kernel.holds()


@pytest.mark.fault("D2", "D3", "D4", "D5", "D6")
@pytest.mark.parametrize("name", FAULTS)
def test_a_cycle_with_a_fault(tracer: Tracer, name: str) -> None:
    """A cycle tries again, or reads back that it need not; it is Committed, and says what was in the way."""
    call, fault, _, _, told = FAULTS[name]
    outcome, _ = tracer.faulted("cycle", call, fault, COMMIT)
    assert f"Committed {_VERIFIED.get(told, told)}".strip() == outcome
    assert committer.WANTED == tracer.kernel.holds()


LASTING = {
    "send: no buffers": ("sendto", "error=ENOBUFS", "Failed unsent"),
    "send: lost": ("sendto", "retval=LENGTH", "Failed short_write"),
}


@pytest.mark.fault("D4", "D6")
@pytest.mark.parametrize("name", LASTING)
def test_a_cycle_with_a_fault_that_lasts(tracer: Tracer, name: str) -> None:
    """From some moment on nothing gets there any more: the cycle is Failed, and nothing has changed."""
    call, fault, expected = LASTING[name]
    outcome, _ = tracer.faulted("cycle", call, fault, COMMIT, lasting="+")
    assert expected == outcome
    assert None is tracer.kernel.holds()


@pytest.mark.fault("D6")
def test_silence_ends_at_the_deadline(tracer: Tracer) -> None:
    """Without an answer a commit ends after its deadline, and says so."""
    call, fault, expected, *_ = FAULTS["send: lost"]
    started = time.monotonic()
    assert expected == tracer.faulted("commit", call, fault, COMMIT)[0]
    assert DEADLINE <= time.monotonic() - started < DEADLINE + 30


SOCKETS = {
    "no nfnetlink": ("EPROTONOSUPPORT", 78, "modprobe nfnetlink"),
    "address family forbidden": ("EAFNOSUPPORT", 78, "RestrictAddressFamilies=AF_NETLINK"),
    "forbidden": ("EPERM", 77, "run it as root or with CAP_NET_ADMIN"),
    "no descriptors left": ("EMFILE", 1, "nothing changed"),
}


@pytest.fixture
def once(tmp_path: Path, namespace: "Namespace") -> tuple[str, ...]:
    """`droplan once` with a fleet file in which this namespace is a Droplet, and no metadata service."""
    namespace.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "other")
    namespace.run("ip", "address", "add", "10.0.0.1/24", "dev", "eth1")
    network = '{"v4": [{"ip_address": "10.0.0.%d", "type": "private"}], "v6": []}'
    droplet = '{"id": %d, "name": "d%d", "vpc_uuid": "v", "networks": ' + network + "}"
    droplets = ", ".join(droplet % (number, number, number) for number in (1, 2))
    (tmp_path / "fleet.json").write_text(f'{{"droplets": [{droplets}], "meta": {{"total": 2}}}}')
    (tmp_path / "droplan.toml").write_text(
        f'[source]\nkind = "file"\npath = "{tmp_path}/fleet.json"\nmetadata_url = "http://127.0.0.1:9"\n'
    )
    return ("-m", "droplan_daemon", "once", "--config", str(tmp_path / "droplan.toml"))


@dataclass
class Ended:
    code: int
    said: str


def _ended(kernel: Kernel, folder: Path, *argv: str) -> Ended:
    """How a program ended in the namespace, and what it said."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "STATE_DIRECTORY": str(folder),
    }
    done = kernel.namespace.call(
        subprocess.run, argv, capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    return Ended(done.returncode, done.stderr)


@pytest.mark.fault("D1", "D18")
@pytest.mark.parametrize("name", SOCKETS)
def test_once_without_a_netlink_socket(
    tracer: Tracer, tmp_path: Path, once: tuple[str, ...], name: str
) -> None:
    """`droplan once` says in a sentence what is missing, and its exit code tells the kinds apart."""
    number, code, words = SOCKETS[name]
    _, calls = tracer.run(*once)
    assert tracer.kernel.holds() is not None
    tracer.kernel.become(None)
    which, _ = _located(calls, "socket", "NETLINK_NETFILTER")
    log, inject = str(tmp_path / "log"), f"inject=socket:error={number}:when={which}+"
    traced = (*STRACE, "-o", log, "-e", "trace=socket", "-e", inject)
    ended = _ended(tracer.kernel, tmp_path, *traced, sys.executable, *once)
    assert code == ended.code
    assert words in ended.said
    assert 1 == len(ended.said.splitlines())
    assert tracer.kernel.holds() is None


@pytest.mark.fault("D1")
@pytest.mark.parametrize("command", ["once", "plan", "flush", "run"])
def test_without_the_capability(tracer: Tracer, tmp_path: Path, once: tuple[str, ...], command: str) -> None:
    """Without CAP_NET_ADMIN each command that needs it ends with 77 and one sentence that says what to do."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    tracer.kernel.become(committer.WANTED)
    stripped = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    argv = tuple(command if word == "once" else word for word in once)
    ended = _ended(tracer.kernel, tmp_path, *stripped, sys.executable, *argv)
    assert 77 == ended.code
    assert "CAP_NET_ADMIN" in ended.said
    assert "Traceback" not in ended.said
    assert committer.WANTED == tracer.kernel.holds()
