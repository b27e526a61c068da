"""check, plan and once say who can log in, and refuse a policy that locks everybody out."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from droplan_daemon.cli import main
from tests.daemon.machine import PEERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.machine import Machine


@dataclass(frozen=True, slots=True)
class Done:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


class Here(Protocol):
    def __call__(self, *words: str) -> Done: ...


@pytest.fixture
def droplan(tmp_path: "Path", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """A command in this process, without a token, in the test's folder."""
    for name in ("DO_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Done:
        code = main(words)
        return Done(code, *capsys.readouterr())

    return call


SOURCE = '[source]\nkind = "file"\npath = "fleet.json"\n'
SHUT = "[public]\nmanaged = true\n[private]\nallow_peers = false\n"
BASTION = SHUT + '[[allow]]\nname = "ssh"\nfrom = "tag:bastion"\nports = ["22/tcp"]\n'
MEANT = SHUT + "[management]\nrequired = false\n"
ADVICE = "add an [[allow]] for somebody; if nobody is meant to get in, "


def _check(droplan: Here, folder: "Path", text: str, *words: str) -> tuple[int, list[str], list[str]]:
    """The exit code, the lines about logging in and the last one, and the errors."""
    (folder / "droplan.toml").write_text(text + SOURCE)
    done = droplan("check", "--config", "droplan.toml", *words)
    told = done.stdout.splitlines()
    lines = [line for line in told if "log in" in line] + [told[-1].partition(";")[0]]
    return done.returncode, lines, done.stderr.splitlines()


@pytest.mark.fault("H3")
def test_check_tells_by_selectors_what_the_file_says(
    droplan: Here, tmp_path: "Path", fleet_file: "Path"
) -> None:
    """Without a fleet: who a rule names, where, and where nothing is judged."""
    good = "droplan.toml: good"
    assert (0, ["log in by 22/tcp: from tag:bastion by private; from nobody by public", good], []) == _check(
        droplan, tmp_path, BASTION
    )
    override = '[[override]]\non = "tag:web"\npublic = { managed = false }\n'
    line = "log in by 22/tcp: from tag:bastion by private; from anybody by public (not managed) on tag:web"
    assert (0, [line, good], []) == _check(droplan, tmp_path, BASTION + override)
    audited = "once audit ends, log in by 22/tcp: from nobody by private; from nobody by public"
    assert (0, [audited, good], []) == _check(droplan, tmp_path, f'mode = "audit"\n{SHUT}')


@pytest.mark.fault("H3")
def test_check_refuses_what_locks_everybody_out(droplan: Here, tmp_path: "Path", fleet_file: "Path") -> None:
    """Exit 1 and one sentence; two ways to say that it is meant."""
    lines = ["log in by 22/tcp: from nobody by private; from nobody by public", "droplan.toml: refused"]
    said = (
        f"droplan: nobody could reach 22/tcp of any Droplet, in any fleet: {ADVICE}"
        "put `required = false` into [management]"
    )
    assert (1, lines, [said]) == _check(droplan, tmp_path, SHUT)
    good = [lines[0], "droplan.toml: good"]
    assert (0, good, []) == _check(droplan, tmp_path, SHUT, "--yes-lock-me-out")
    assert (0, good, []) == _check(droplan, tmp_path, MEANT)


@pytest.mark.fault("H3")
def test_check_looks_at_every_droplet_of_a_fleet(droplan: Here, tmp_path: "Path", fleet_file: "Path") -> None:
    """The bastion lets in bastions, and is the only one: it is named, and nobody else."""
    code, lines, errors = _check(droplan, tmp_path, BASTION, "--fleet", str(fleet_file))
    assert (1, 1) == (code, len(errors))
    everybody = "tunnel-1, web-1, web-2, mysql-1"
    said = f"log in to {everybody} by 22/tcp: from tag:bastion by private; from nobody by public"
    assert [said] == lines[:-1]
    assert errors[0].startswith("droplan: nobody could reach 22/tcp of tunnel-1: add an [[allow]]")
    office = '[[allow]]\nname = "office"\non = "tag:bastion"\nfrom = "192.0.2.0/24"\ninterface = "public"\n'
    code, lines, errors = _check(droplan, tmp_path, BASTION + office, "--fleet", str(fleet_file))
    assert (0, []) == (code, errors)
    assert [
        "log in to tunnel-1 by 22/tcp: from tag:bastion by private; from 192.0.2.0/24 by public",
        "log in to web-1, web-2, mysql-1 by 22/tcp: from tag:bastion by private; from nobody by public",
    ] == lines[:-1]


@pytest.mark.fault("H3")
def test_check_as_one_droplet_names_names(droplan: Here, tmp_path: "Path", fleet_file: "Path") -> None:
    """With --as: Droplets and their addresses; the one that would be locked is refused."""
    asked = ("--fleet", str(fleet_file), "--as")
    code, lines, errors = _check(droplan, tmp_path, BASTION, *asked, "mysql-1")
    assert (0, []) == (code, errors)
    assert ["log in by 22/tcp: from tunnel-1 (10.10.0.2) by private; from nobody by public"] == lines[:-1]
    code, _, errors = _check(droplan, tmp_path, BASTION, *asked, "tunnel-1")
    assert 1 == code
    assert errors[0].startswith("droplan: nobody could reach 22/tcp of tunnel-1: ")


def test_a_policy_that_is_meant_so_is_said_so(droplan: Here, tmp_path: "Path", fleet_file: "Path") -> None:
    """`required = false` refuses nothing, and hides nothing."""
    (tmp_path / "droplan.toml").write_text(MEANT)
    words = ("--config", "droplan.toml", "--fleet", str(fleet_file), "--as", "web-1")
    done = droplan("plan", *words)
    assert (0, "") == (done.returncode, done.stderr)
    assert "! nobody could reach 22/tcp, and the configuration says so" in done.stdout.splitlines()


@pytest.mark.fault("H3")
@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_refusal_is_a_document_too(
    droplan: Here, tmp_path: "Path", fleet_file: "Path", command: str
) -> None:
    """For programs: ok is false, with reason and message, beside all that is told otherwise."""
    (tmp_path / "droplan.toml").write_text(SHUT)
    words = ("--config", "droplan.toml", "--fleet", str(fleet_file), "--as", "web-1", "--json")
    done = droplan(command, *words)
    told = json.loads(done.stdout)
    assert (1, "", False, "lock_out") == (done.returncode, done.stderr, told["ok"], told["reason"])
    assert "22/tcp" in told["message"]
    management = told["management"]
    assert (["22/tcp"], True, True) == (management["ports"], management["required"], management["closed"])
    way = {"port": "22/tcp", "interface": "eth1", "network": "private", "managed": True, "from": []}
    assert way == management["ways"][0]
    done = droplan(command, *words, "--yes-lock-me-out")
    assert (0, True) == (done.returncode, json.loads(done.stdout)["ok"])


def test_plan_offline_shows_what_it_refuses(droplan: Here, tmp_path: "Path", fleet_file: "Path") -> None:
    """All of the plan, then one sentence why `once` would not do it; exit 1, --exit-code or not."""
    (tmp_path / "droplan.toml").write_text(SHUT)
    words = ("--config", "droplan.toml", "--fleet", str(fleet_file), "--as", "web-1")
    done = droplan("plan", *words, "--exit-code")
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "of this Droplet (web-1) any more, so nothing is changed" in done.stderr
    told = done.stdout.splitlines()
    assert "log in by 22/tcp: from nobody by private; from nobody by public" in told
    assert told[-1].startswith("to do: ")
    assert 3 == droplan("plan", *words, "--exit-code", "--yes-lock-me-out").returncode


# On a Droplet.


@pytest.mark.kernel
@pytest.mark.fault("H3")
def test_once_refuses_and_the_kernel_stays_as_it_is(machine: "Machine") -> None:
    """The first time of all and after a change; whoever insists gets it, and is not asked again."""
    machine.write(SHUT)
    refused = machine.droplan("once")
    assert (1, "", None) == (refused.returncode, refused.stdout, machine.observe().ruleset)
    assert refused.stderr.startswith("droplan: nobody could reach 22/tcp of this Droplet (web-1) any more, ")
    machine.write()
    assert 0 == machine.droplan("once").returncode
    machine.write(SHUT)
    generation = machine.generation
    assert (1, 1) == (machine.droplan("plan").returncode, machine.droplan("once").returncode)
    assert (generation, machine.addresses(*PEERS)) == (machine.generation, machine.peers)
    assert 0 == machine.droplan("once", "--yes-lock-me-out").returncode
    assert set() == machine.peers
    machine.namespace.run("nft", "delete", "table", "inet", "droplan")
    assert (0, 0) == (machine.droplan("plan").returncode, machine.droplan("once").returncode)
    assert machine.observe().ruleset is not None
