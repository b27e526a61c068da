"""`droplan explain`, as a person uses it: offline, for any Droplet of a fleet file."""

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.cli.conftest import Droplan

POLICY = """
[private]
allow_peers = false

[public]
managed = true

[[override]]
on      = "name:web-1"
private = { outbound = "drop" }

[[allow]]
name  = "sql"
on    = "name:mysql-1"
from  = "tag:web"
ports = ["3306/tcp"]

[[allow]]
name  = "out"
on    = "tag:web"
to    = "name:mysql-1"
ports = ["3306/tcp", "icmp"]

[[allow]]
name      = "site"
on        = "tag:web"
from      = "any"
ports     = ["80/tcp", "443/tcp"]
interface = "public"
"""


@pytest.fixture
def explain(droplan: "Droplan", fleet_file: "Path", tmp_path: "Path") -> "Droplan":
    (tmp_path / "droplan.toml").write_text(POLICY)

    def run(*words: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return droplan(
            "explain", *words, "--config", "droplan.toml", "--fleet", str(fleet_file), environ=environ
        )

    return run


def test_an_answer_leads_with_the_verdict(explain: "Droplan") -> None:
    """One line that says it all, then the rule and the chain of reasons."""
    done = explain("web-2", "3306/tcp", "--as", "mysql-1")
    assert (0, "") == (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    assert "allowed: web-2 (10.10.0.4) to mysql-1 on the private network, 3306/tcp" == lines[0]
    assert "  rule       sql" == lines[1]
    assert "  set        private-tag-web-4 holds the address" in lines
    assert "  interface  eth1 (private) judges inbound traffic" == lines[-1]


def test_a_denial_says_what_came_nearest(explain: "Droplan") -> None:
    """The rule that is about this port, and what the sender lacks."""
    done = explain("tunnel-1", "3306/tcp", "--as", "mysql-1")
    assert 0 == done.returncode
    assert done.stdout.startswith(
        "denied: tunnel-1 (10.10.0.2) to mysql-1 on the private network, 3306/tcp\n"
    )
    assert "  nearest    rule 'sql': tag:web would be allowed; tunnel-1 has tags: bastion\n" in done.stdout


def test_out_turns_the_question_round(explain: "Droplan") -> None:
    """From this Droplet to FROM; a service that keeps the Host alive is named as such."""
    assert explain("mysql-1", "3306/tcp", "--out", "--as", "web-1").stdout.startswith(
        "allowed: web-1 to mysql-1 (10.10.0.5) on the private network, 3306/tcp\n  rule       out\n"
    )
    assert "denied" in explain("mysql-1", "22/tcp", "--out", "--as", "web-1").stdout
    assert "  rule       dns\n" in explain("10.10.0.5", "53/udp", "--out", "--as", "web-1").stdout
    assert "not judged: " in explain("web-1", "22/tcp", "--out", "--as", "mysql-1").stdout


def test_without_a_port_everything_that_is_open_is_listed(explain: "Droplan") -> None:
    """Rule by rule; and it says so when there is nothing."""
    done = explain("203.0.113.77", "--as", "web-1")
    assert [
        "203.0.113.77 to web-1 on the public network:",
        "  80/tcp, 443/tcp      by rule 'site'",
    ] == done.stdout.splitlines()
    assert "  nothing " in explain("tunnel-1", "--as", "mysql-1").stdout
    assert "  everything: " in explain("mysql-1", "--out", "--as", "tunnel-1").stdout


def test_a_droplet_is_found_by_name_id_and_address(explain: "Droplan", fleet_file: "Path") -> None:
    """All three mean the same Droplet; the interface follows from it."""
    droplets = json.loads(fleet_file.read_text())["droplets"]
    (number,) = (one["id"] for one in droplets if one["name"] == "web-2")
    for word in ("web-2", str(number), "10.10.0.4"):
        found = json.loads(explain(word, "3306/tcp", "--as", "mysql-1", "--json").stdout)
        assert [("10.10.0.4", "private", "allow", "sql")] == [
            (one["address"], one["interface"], one["verdict"], one["rule"]) for one in found["answers"]
        ]


def test_every_address_of_the_interface_is_asked(explain: "Droplan", fleet_file: "Path") -> None:
    """A Droplet has IPv4 and IPv6; alike answers are told once, ICMP only of its own family."""
    page = json.loads(fleet_file.read_text())
    (web,) = (one for one in page["droplets"] if one["name"] == "web-2")
    six = {"ip_address": "2001:db8::4", "netmask": 64, "gateway": "2001:db8::1", "type": "public"}
    web["networks"]["v6"] = [six]
    fleet_file.write_text(json.dumps(page))
    told = explain("web-2", "22/tcp", "--interface", "public", "--as", "mysql-1").stdout
    assert 1 == told.count("denied: ")
    assert "likewise 2001:db8::4\n" in told
    asked = ("web-2", "icmpv6", "--interface", "public", "--as", "mysql-1", "--json")
    answers = json.loads(explain(*asked).stdout)["answers"]
    assert ["2001:db8::4"] == [one["address"] for one in answers]


def test_json_has_all_of_it(explain: "Droplan") -> None:
    """Verdict, rule, reasons: for programs; the Droplet too."""
    found = json.loads(explain("tunnel-1", "3306/tcp", "--as", "mysql-1", "--json").stdout)
    assert (True, "mysql-1") == (found["ok"], found["droplet"]["name"])
    (answer,) = found["answers"]
    assert ("deny", False, "denied", []) == tuple(
        answer[key] for key in ("verdict", "passes", "rule", "also")
    )
    assert "nearest" in [reason["about"] for reason in answer["reasons"]]
    listed = json.loads(explain("web-2", "--as", "mysql-1", "--json").stdout)
    assert [{"rule": "sql", "ports": "3306/tcp"}] == listed["answers"][0]["allowed"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("3306", "write 3306/tcp or 3306/udp"),
        ("70000/tcp", "write 80/tcp, 53/udp, icmp or icmpv6"),
        ("0/tcp", "write"),
        ("80/ftp", "write"),
        ("", "write"),
    ],
)
def test_a_port_that_is_none_is_wrong_usage(explain: "Droplan", word: str, hint: str) -> None:
    """Exit code 2, and what to write instead."""
    done = explain("web-2", word, "--as", "mysql-1")
    assert 2 == done.returncode
    assert hint in done.stderr


@pytest.mark.parametrize(
    ("words", "reason", "sentence"),
    [
        (("web-9", "22/tcp"), "not_in_fleet", "no Droplet of the fleet is called 'web-9'"),
        (("10.10.0.4", "icmpv6"), "no_address", "10.10.0.4 has no address on the private network"),
    ],
)
def test_who_is_not_there_is_an_error_of_one_sentence(
    explain: "Droplan", words: tuple[str, ...], reason: str, sentence: str
) -> None:
    """Exit code 1; with --json it is a document."""
    done = explain(*words, "--as", "mysql-1")
    assert 1 == done.returncode
    assert done.stderr.startswith(f"droplan: {sentence}")
    found = json.loads(explain(*words, "--as", "mysql-1", "--json").stdout)
    assert (False, reason) == (found["ok"], found["reason"])
