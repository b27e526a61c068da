"""What the package does without Python: say that it is gone, and take the rules away."""

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.package.tree import TOP

if TYPE_CHECKING:
    from tests.conftest import Namespace

DEBIAN = TOP / "packaging" / "debian"
SCRIPTS = ("droplan.sh", "remove-rules", "droplan.postinst", "droplan.prerm", "droplan.postrm")

_TABLES = """\
table inet droplan {
    chain c {
    }
}
table ip droplan
table inet other
"""
_OURS = """\
*filter
:droplan-peers - [0:0]
:droplan-about - [0:0]
:droplan-in-09ca958e19c3 - [0:0]
-A INPUT -i eth1 -m comment --comment "droplan 0 in" -j droplan-peers
-A droplan-about -m comment --comment "droplan 0 written by droplan"
-A droplan-peers {peers} -m comment --comment "droplan 1 peers" -j ACCEPT
-A droplan-peers -p tcp -m comment --comment "droplan 2 ports" -g droplan-in-09ca958e19c3
-A droplan-peers -m comment --comment "droplan 3 the rest" -j DROP
COMMIT
"""
_FOREIGN = """\
*filter
:droplan-peers-public - [0:0]
:droplan-in-tcp - [0:0]
:droplan-mine - [0:0]
-A INPUT -i eth0 -j droplan-peers-public
-A INPUT -p tcp -m comment --comment "my \\"own\\" droplan 1" -j ACCEPT
-A droplan-peers-public -j DROP
-A droplan-in-tcp -j DROP
COMMIT
"""


@pytest.mark.parametrize("program", ["shellcheck"], indirect=True)
@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_has_nothing_to_say(program: str, script: str) -> None:
    """Of what a shell runs as root."""
    done = subprocess.run([program, str(DEBIAN / script)], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)


def test_an_interpreter_that_is_gone_is_said(tmp_path: Path) -> None:
    """One line on standard error: what it was built for and what to do; 78 stops the unit."""
    wrapper = tmp_path / "droplan"
    wrapper.write_text((DEBIAN / "droplan.sh").read_text("utf-8").replace("@PYTHON@", "python9.99"))
    done = subprocess.run(["sh", str(wrapper), "run"], capture_output=True, text=True, check=False)
    assert (78, "") == (done.returncode, done.stdout)
    assert 1 == done.stderr.count("\n")
    assert "built for python9.99, and /usr/bin/python9.99 is gone. Install the droplan package" in done.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("program", ["nft"], indirect=True)
def test_the_table_goes_and_nothing_else(namespace: "Namespace", program: str, tmp_path: Path) -> None:
    """Also where there is none, and another program's table of the same name in another family stays."""
    namespace.run(program, "-f", "-", text=_TABLES)
    for _ in range(2):
        assert "" == _removed(namespace, tmp_path)
        assert "table ip droplan\ntable inet other\n" == namespace.run(program, "list", "tables")


@pytest.mark.kernel
@pytest.mark.parametrize("program", ["ipset"], indirect=True)
@pytest.mark.parametrize("variant", ["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"])
def test_chains_and_sets_go_and_nothing_else(
    namespace: "Namespace", program: str, variant: str, tmp_path: Path
) -> None:
    """Ours are known by their comment: a chain that only has a name like ours stays, and so do its rules."""
    if shutil.which(f"{variant}-restore", path="/usr/sbin:/sbin") is None:
        pytest.skip(f"no {variant}-restore: install the package iptables")
    family = "inet6" if variant.startswith("ip6") else "inet"
    restore = f"/usr/sbin/{variant}-restore"
    namespace.run(restore, text=_FOREIGN)
    before = _rules(namespace, variant)
    namespace.run(program, "restore", text=f"create dp-peers hash:ip family {family}\ncreate mine hash:ip\n")
    namespace.run(restore, "--noflush", text=_OURS.format(peers="-m set --match-set dp-peers src"))
    (tmp_path / "ruleset.iptables").touch()
    (tmp_path / "host.json").touch()
    assert before != _rules(namespace, variant)
    assert "" == _removed(namespace, tmp_path)
    assert before == _rules(namespace, variant)
    assert "mine\n" == namespace.run(program, "list", "-n")
    assert ["host.json"] == [file.name for file in tmp_path.iterdir()]


def _removed(namespace: "Namespace", state: Path) -> str:
    """What remove-rules said."""
    script = f"STATE_DIRECTORY={state} sh {DEBIAN / 'remove-rules'} 2>&1"
    return namespace.run("sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin; {script}")


def _rules(namespace: "Namespace", variant: str) -> list[str]:
    dump = namespace.run(f"/usr/sbin/{variant}-save", "-t", "filter")
    return [line for line in dump.splitlines() if not line.startswith(("#", ":"))] + [
        line.partition(" [")[0] for line in dump.splitlines() if line.startswith(":")
    ]
