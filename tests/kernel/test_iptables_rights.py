"""The drop-in for the backend iptables: the rights that it grants are enough, and each is needed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel import absent

if TYPE_CHECKING:
    from tests.conftest import Namespace

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv: install util-linux"),
]

DROP_IN = Path(__file__).resolve().parents[2] / "systemd" / "iptables.conf"
_BOUNDING = re.compile(r"^CapabilityBoundingSet=(.*)$", re.MULTILINE)
_WORK = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.model.policy import Policy
from droplan_daemon.persist.keeper import IptablesKeeper
from droplan_daemon.persist.layout import Layout
from droplan_daemon.persist.tools import of_variant
from droplan_daemon.reconcile import put
from tests.kernel.wires import THE_OTHER, THE_PEER, compiled

variant, ipset = sys.argv[2], sys.argv[3] == "True"
backend = IptablesBackend(variant, ipset=ipset)
for desired in (compiled(Policy(), THE_PEER), compiled(Policy(), THE_PEER, THE_OTHER)):
    put(backend, desired)
files = [Path("/etc/iptables", name) for name in ("rules.v4", "rules.v6", "ipsets")]
IptablesKeeper(Layout(*files), of_variant(variant)).keep(desired)
print(json.dumps([desired == backend.observe().ruleset, *(path.stat().st_uid for path in files[:2])]))
"""


def _granted() -> list[str]:
    (found,) = _BOUNDING.findall(DROP_IN.read_text())
    return [name.removeprefix("CAP_").lower() for name in found.split()]


def _with(
    namespace: "Namespace", rights: list[str], variant: str, ipset: bool
) -> "subprocess.CompletedProcess[str]":
    """Root with these capabilities and no others; what it starts has no more."""
    asked = ",".join(("-all", *(f"+{name}" for name in rights)))
    setpriv = ("setpriv", "--inh-caps", asked, "--bounding-set", asked, "--no-new-privs")
    return namespace.call(
        subprocess.run,
        [*setpriv, sys.executable, "-c", _WORK, json.dumps(sys.path), variant, str(ipset)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def host(namespace: "Namespace", tmp_path: Path) -> "Namespace":
    """A namespace with an /etc/iptables and a /run of its own, both root's."""
    try:
        namespace.call(absent.own_mounts)
    except PermissionError as error:
        pytest.skip(f"no mounts of our own: {error.strerror}; run as root, or with unshare -Urnm")
    for name, target in (("run", "/run"), ("etc", "/etc")):
        (tmp_path / name).mkdir()
        if name == "etc":
            (tmp_path / name / "iptables").mkdir()
            for known in ("alternatives", "protocols", "services", "ethertypes", "localtime", "ld.so.cache"):
                (tmp_path / name / known).symlink_to(tmp_path / "real" / known)
            (tmp_path / "real").mkdir()
            namespace.call(absent.bind, Path("/etc"), tmp_path / "real")
        namespace.call(absent.bind, tmp_path / name, Path(target))
    return namespace


@pytest.mark.parametrize("ipset", [True, False], ids=["with ip sets", "without"])
@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_what_is_granted_is_enough(host: "Namespace", variant: str, ipset: bool) -> None:
    """Rules are committed, read back, and saved to root's own files."""
    done = _with(host, _granted(), variant, ipset)
    assert ("[true, 0, 0]\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("missing", _granted())
def test_no_more_is_granted_than_is_needed(host: "Namespace", missing: str) -> None:
    """Without any one of them a variant of iptables does not work."""
    rights = [name for name in _granted() if name != missing]
    codes = [_with(host, rights, variant, ipset=True).returncode for variant in ("nft", "legacy")]
    assert [0, 0] != codes
