"""What the daemon does works inside of the unit's sandbox: large commits, names, TLS, credentials."""

from typing import TYPE_CHECKING

import pytest

from tests.systemd.server import CONFIG, TOKEN_FILE
from tests.systemd.surroundings import API, NAME, TOKEN

if TYPE_CHECKING:
    from tests.systemd.conftest import MakeServer
    from tests.systemd.server import Server

pytestmark = pytest.mark.full


@pytest.mark.fault("D2")
def test_twenty_thousand_at_once(make_server: "MakeServer") -> None:
    """20,000 peers in one commit, which takes a larger socket buffer than a process has by itself."""
    server = make_server(peers=20_000).boot()
    server.enable()
    server.says("enforcing 20,000 peers", 120)
    assert server.around.address(server.around.peers[-1]) in server.ruleset


def test_the_api_by_name(server: "Server") -> None:
    """A name of the API is resolved by the resolver that the machine has, and its certificate checked."""
    server.around.name_server()
    server.box.write("/etc/resolv.conf", f"nameserver {API}\n")
    server.box.write(CONFIG, server.around.configuration(url=f"https://{NAME}"))
    server.enable()
    server.says("enforcing 3 peers")


@pytest.mark.fault("J5")
def test_an_encrypted_token(server: "Server") -> None:
    """The token as the unit's own comment has it: encrypted on disk, and the plain file gone."""
    sealed = f"{TOKEN_FILE}.cred"
    encrypt = f"systemd-creds encrypt --with-key=host --name=token {TOKEN_FILE} {sealed}; rm {TOKEN_FILE}"
    server.box.shell(f"systemd-creds setup >/dev/null; {encrypt}")
    load = f"LoadCredential=\nLoadCredentialEncrypted=token:{sealed}"
    server.drop_in("token", f"[Service]\n{load}\n")
    server.enable()
    server.says("enforcing 3 peers")
    assert "" == server.box.run("grep", "-rlF", TOKEN, "/etc/droplan", "/var/lib", check=False)
    server.box.reboot()
    server.box.booted()
    server.ready()
    server.says("enforcing 3 peers")


def test_it_holds_as_little_as_it_says(server: "Server") -> None:
    """Not root, one capability, no way to gain more, and a system that it cannot write to."""
    server.enable()
    status = server.box.shell(f"cat /proc/{server.pid}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in facts["Uid"].split()
    assert [f"{1 << 12:016x}"] * 3 == [facts[key] for key in ("CapEff", "CapPrm", "CapBnd")]
    assert ("1", "2") == (facts["NoNewPrivs"], facts["Seccomp"])
    mounts = server.box.shell(f"cat /proc/{server.pid}/mountinfo").splitlines()
    system = next(line.split() for line in mounts if line.split()[4] == "/")
    assert "ro" in system[5].split(",")
