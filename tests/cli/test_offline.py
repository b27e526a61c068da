"""plan, show and peers without root, network, daemon or token."""

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.daemon.machine import PACKAGES, PROGRAM

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Droplan
    from tests.conftest import Namespace


_MEANING = ("judged", "released", "reach", "cuts", "management")
_PEERS = "tunnel-1 (10.10.0.2), web-2 (10.10.0.4), mysql-1 (10.10.0.5)"


def test_plan_leads_with_who_gets_in(droplan: "Droplan", fleet_file: "Path") -> None:
    """Who reaches what, then names and addresses, rules as a number, one line that sums it up."""
    done = droplan("plan", "--fleet", str(fleet_file), "--as", "web-1")
    assert (0, "") == (done.returncode, done.stderr)
    assert [
        "on a kernel that holds nothing yet, web-1 would get:",
        "eth1 inbound is judged from now on; it lets through, beside what keeps the network alive:",
        "  + tunnel-1, web-2, mysql-1: everything",
        f"log in by 22/tcp: from {_PEERS} by private; from anybody by public (not managed)",
        "in the kernel:",
        "  +  tunnel-1  10.10.0.2  private-peers-4",
        "  +  web-2     10.10.0.4  private-peers-4",
        "  +  mysql-1   10.10.0.5  private-peers-4",
        "to do: 3 addresses in, 15 changes to the table and its rules (--verbose lists them)",
    ] == done.stdout.splitlines()


def test_verbose_lists_every_change(droplan: "Droplan", fleet_file: "Path") -> None:
    """As many lines more as were counted."""
    done = droplan("plan", "--verbose", "--fleet", str(fleet_file), "--as", "web-1")
    assert 1 + 4 + 3 + 15 + 1 == len(done.stdout.splitlines())
    assert "  create table" in done.stdout.splitlines()
    assert done.stdout.endswith("to do: 3 addresses in, 15 changes to the table and its rules\n")


def test_a_large_plan_is_cut(droplan: "Droplan", fleet_file: "Path") -> None:
    """Ten thousand names are nothing to read; --verbose has them all the same."""
    page = json.loads(fleet_file.read_text())
    first = page["droplets"][0]
    for number in range(1, 200):
        networks = {"v4": [{"ip_address": f"10.10.1.{number}", "type": "private"}], "v6": []}
        page["droplets"].append({**first, "id": number, "name": f"more-{number}", "networks": networks})
    page["meta"]["total"] = len(page["droplets"])
    fleet_file.write_text(json.dumps(page))
    done = droplan("plan", "--fleet", str(fleet_file), "--as", "web-1")
    assert 47 == len(done.stdout.splitlines())
    assert "  … and 162 more addresses (--verbose lists them)" in done.stdout
    whole = droplan("plan", "--verbose", "--fleet", str(fleet_file), "--as", "web-1")
    assert 1 + 4 + 202 + 15 + 1 == len(whole.stdout.splitlines())


def test_exit_code_3_means_something_to_do(droplan: "Droplan", fleet_file: "Path") -> None:
    """Only when asked for."""
    assert 3 == droplan("plan", "--exit-code", "--fleet", str(fleet_file), "--as", "web-1").returncode


@pytest.mark.kernel
def test_show_is_what_nft_loads(droplan: "Droplan", fleet_file: "Path", namespace: "Namespace") -> None:
    """The script of another Droplet is valid, and loads as it stands."""
    done = droplan("show", "--fleet", str(fleet_file), "--as", "mysql-1")
    assert done.stdout.startswith("# mysql-1 (id 3164447); load with: nft -f FILE\n")
    namespace.run("nft", "-f", "-", text=done.stdout)
    listed = namespace.run("nft", "list", "set", "inet", "droplan", "private-peers-4")
    assert all(f"10.10.0.{n}" in listed for n in (2, 3, 4))


def test_peers_say_why(droplan: "Droplan", fleet_file: "Path") -> None:
    """Each Droplet with a reason; with --all those that are none, too."""
    done = droplan("peers", "--all", "--fleet", str(fleet_file), "--as", "3164445")
    lines = done.stdout.splitlines()
    assert ["DROPLET", "ID", "PRIVATE", "PUBLIC", "WHY"] == lines[0].split()
    assert ["web-1", "3164445", "10.10.0.3", "198.18.0.3", "no:", "this", "Droplet", "itself"] == lines[
        2
    ].split()
    assert "3 peers of 4 Droplets" == lines[-1]
    assert 5 == len(droplan("peers", "--fleet", str(fleet_file), "--as", "web-1").stdout.splitlines())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("web-9", "no Droplet of the fleet is called 'web-9' (tunnel-1, web-1, web-2, mysql-1)"),
        ("twin", "2 Droplets are called 'twin'; say which by id: 3164444, 3164445"),
    ],
)
def test_a_name_that_is_nobodys_is_told(
    droplan: "Droplan", fleet_file: "Path", name: str, sentence: str
) -> None:
    """With those that there are."""
    if name == "twin":
        page = json.loads(fleet_file.read_text())
        for droplet in page["droplets"][:2]:
            droplet["name"] = "twin"
        fleet_file.write_text(json.dumps(page))
    done = droplan("plan", "--fleet", str(fleet_file), "--as", name)
    assert (1, "", f"droplan: {sentence}\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command", ["plan", "show", "peers"])
def test_who_to_be_is_asked_for(droplan: "Droplan", fleet_file: "Path", command: str) -> None:
    """Offline, on a machine that is no Droplet of the fleet, a missing --as is wrong usage."""
    done = droplan(command, "--fleet", str(fleet_file))
    said = f"droplan: this machine is no Droplet of {fleet_file}; say which Droplet to be: --as NAME\n"
    assert (2, "", said) == (done.returncode, done.stdout, done.stderr)


def test_a_policy_is_tried_on_any_droplet(droplan: "Droplan", fleet_file: "Path", tmp_path: "Path") -> None:
    """The same file as the fleet has; a tag that nobody has is a warning with a guess."""
    config = tmp_path / "droplan.toml"
    config.write_text('[peers]\ntag = "wbe"\n')
    done = droplan("plan", "--config", str(config), "--fleet", str(fleet_file), "--as", "web-1")
    assert (
        "warning: peers.tag: no Droplet has the tag 'wbe'; the nearest that exists is 'web'\n" == done.stderr
    )
    assert "to do: 15 changes" in done.stdout


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"droplets": ["\xff"]}', "not UTF-8"),
        (b"{}", "wrong shape at droplets (missing)"),
        (b"<html>", "line 1, column 1"),
        (b'{"droplets": [{"id": 1}]}', "entries that could not be read: 1, the first (id 1): name: missing"),
        (
            b'{"droplets": [{"id": 1}, {"id": 2}]}',
            "2 of 2 droplets are malformed (the first: 1: name: missing)",
        ),
        (b'{"droplets": [], "meta": {"total": 0}}', "(it is empty)"),
        (b'{"droplets": [], "meta": {"total": 7}}', "one page of a longer list"),
    ],
)
def test_a_bad_fleet_file_is_one_sentence(
    droplan: "Droplan", fleet_file: "Path", content: bytes, word: str
) -> None:
    """Which file, what is wrong with it, and where."""
    fleet_file.write_bytes(content)
    done = droplan("show", "--fleet", str(fleet_file), "--as", "web-1")
    assert (1, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
    assert word in done.stderr


def test_an_evil_name_moves_no_cursor(droplan: "Droplan", fleet_file: "Path") -> None:
    """Control characters of a Droplet's name never reach the terminal."""
    page = json.loads(fleet_file.read_text())
    page["droplets"][0]["name"] = "web\x1b[2J\nroot"
    page["droplets"][2]["tags"] = ["\x1b]0;"]
    fleet_file.write_text(json.dumps(page))
    for command in ("plan", "show", "peers"):
        done = droplan(command, "--fleet", str(fleet_file), "--as", "mysql-1")
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("command", ["plan", "show", "peers"])
def test_offline_needs_nothing(
    namespace: "Namespace", nobody: tuple[str, ...], public_folder: "Path", fleet_file: "Path", command: str
) -> None:
    """As another user, without capabilities, in a namespace without a network: it works."""
    shared = public_folder / "fleet.json"
    shared.write_text(fleet_file.read_text())
    shared.chmod(0o644)
    done = namespace.call(
        subprocess.run,
        [*nobody, *PROGRAM, command, "--fleet", str(shared), "--as", "web-1"],
        env={"PATH": "/usr/bin:/usr/sbin", "PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert "10.10.0.4" in done.stdout


# For programs.


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (
            ("plan",),
            {"ok", "droplet", "peers", "backend", "changes", "warnings", "doubts", "moves_from", *_MEANING},
        ),
        (("show",), {"comment", "flags", "sets", "maps", "chains"}),
        (("show", "--format", "json"), {"comment", "flags", "sets", "maps", "chains"}),
    ],
)
def test_json_has_the_documented_keys(
    droplan: "Droplan", fleet_file: "Path", words: tuple[str, ...], keys: set[str]
) -> None:
    """One document, with the keys that the help names."""
    asked = words if "--format" in words else (*words, "--json")
    done = droplan(*asked, "--fleet", str(fleet_file), "--as", "web-1")
    assert keys == json.loads(done.stdout).keys()
    documented = droplan(words[0], "--help").stdout.partition("json:")[2]
    assert [] == [key for key in keys if key not in documented]


def test_plans_as_json_have_all_members(droplan: "Droplan", fleet_file: "Path") -> None:
    """Each change with its kind and its sentence; those of sets with set and elements."""
    done = droplan("plan", "--json", "--fleet", str(fleet_file), "--as", "web-1")
    added = next(c for c in json.loads(done.stdout)["changes"] if c["kind"] == "AddElements")
    assert ("private-peers-4", ["10.10.0.2", "10.10.0.4", "10.10.0.5"]) == (added["set"], added["elements"])


def test_peers_as_json(droplan: "Droplan", fleet_file: "Path") -> None:
    """A list of Droplets with verdict, reason and addresses."""
    done = droplan("peers", "--json", "--all", "--fleet", str(fleet_file), "--as", "web-1")
    found = json.loads(done.stdout)
    assert [False, True] == sorted({each["peer"] for each in found})
    assert {"id", "name", "peer", "reason", "private", "public"} == found[0].keys()


@pytest.mark.parametrize("command", ["plan", "show", "peers"])
def test_errors_as_json(droplan: "Droplan", fleet_file: "Path", command: str) -> None:
    """A program gets a document when it fails, too, and the same exit code."""
    done = droplan(command, "--json", "--fleet", str(fleet_file), "--as", "nobody")
    told = json.loads(done.stdout)
    assert (1, "", False, "not_in_fleet") == (done.returncode, done.stderr, told["ok"], told["reason"])


def test_a_reader_that_goes_away_is_no_traceback(fleet_file: "Path") -> None:
    """`droplan peers | true` ends quietly."""
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{' '.join(PROGRAM)} peers --fleet {fleet_file} --as web-1 | true; exit ${{PIPESTATUS[0]}}",
        ],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ("", True) == (done.stderr, done.returncode in {0, 1})
