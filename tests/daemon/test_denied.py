"""A daemon that the kernel lets do nothing: it ends at once, and says what is missing."""

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.daemon.machine import Machine

pytestmark = pytest.mark.kernel

STRIPPED = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
_INJECTED = ("-e", "trace=socket", "-e", "inject=socket:error=EPROTONOSUPPORT")
NO_NETLINK = ("strace", "-f", "-qq", "-o", "/dev/null", *_INJECTED)
CASES = {
    "no right to": (STRIPPED, 77, "kernel.denied", "reason=not_permitted", "CAP_NET_ADMIN"),
    "no netlink": (NO_NETLINK, 78, "kernel.unsupported", "feature=nfnetlink", "modprobe nfnetlink"),
}


@pytest.mark.fault("D1", "D18")
@pytest.mark.parametrize("name", CASES)
def test_what_the_kernel_refuses_at_the_start_is_an_event(machine: "Machine", name: str) -> None:
    """Under systemd: one event with the reason, the exit code of its kind, and no traceback."""
    prefix, code, event, field, words = CASES[name]
    if shutil.which(prefix[0]) is None:
        pytest.skip(f"{prefix[0]} is not installed")
    (machine.folder / "log").touch()
    log = (machine.folder / "log").stat()
    running = machine.start(environ={"JOURNAL_STREAM": f"{log.st_dev}:{log.st_ino}"}, prefix=prefix)
    assert code == running.process.wait(60)
    assert [True] == [f"<3>{event}" in line for line in running.log]
    assert field in running.log[0].split()
    assert words in running.log[0]
