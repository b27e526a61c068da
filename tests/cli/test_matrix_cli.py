"""`droplan matrix`, as a person and a CI job use it."""

import json
import resource
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.cli.conftest import Droplan

POLICY = """
[private]
allow_peers = false

[[allow]]
name  = "sql"
on    = "name:mysql-1"
from  = "tag:web"
ports = ["3306/tcp"]

[[allow]]
name  = "ssh"
from  = "name:tunnel-1"
ports = ["22/tcp"]
"""


@pytest.fixture
def config(tmp_path: "Path") -> "Path":
    path = tmp_path / "droplan.toml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def matrix(droplan: "Droplan", fleet_file: "Path", config: "Path") -> "Droplan":
    def run(*words: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return droplan("matrix", *words, "--config", str(config), "--fleet", str(fleet_file), environ=environ)

    return run


def test_a_table_fits_the_terminal(matrix: "Droplan") -> None:
    """Rows send, columns are reached; Droplets that behave alike are one."""
    done = matrix(environ={"COLUMNS": "80"})
    assert (0, "") == (done.returncode, done.stderr)
    assert [
        "private network",
        "from \\ to  tunnel-1  tag:web  mysql-1",
        "tunnel-1             22/tcp   22/tcp",
        "tag:web    -         -        3306/tcp",
        "mysql-1    -         -",
        "any        -         -        -",
        "",
        "public network: managed on no Droplet, so droplan has no say there",
        "",
        "tag:web: 2 Droplets: web-1, web-2",
    ] == done.stdout.splitlines()[:-1]
    assert done.stdout.splitlines()[-1].startswith("any: whoever is not in the fleet; ")


def test_where_a_table_would_be_too_wide_there_are_lines(matrix: "Droplan") -> None:
    """Each target, what of it is open, and to whom; no line is wider than the terminal allows."""
    lines = matrix(environ={"COLUMNS": "30"}).stdout.splitlines()
    assert ["mysql-1: 22/tcp from tunnel-1", "mysql-1: 3306/tcp from tag:web"] == [
        line for line in lines if line.startswith("mysql-1")
    ]


def test_json_is_the_whole_matrix(matrix: "Droplan") -> None:
    """Groups with their Droplets, and who reaches whom."""
    found = json.loads(matrix("--json").stdout)
    assert found["ok"]
    assert ["tunnel-1", "tag:web", "mysql-1"] == [group["name"] for group in found["groups"]]
    assert ["web-1", "web-2"] == found["groups"][1]["droplets"]
    expected = {"to": "mysql-1", "on": "private", "ports": ["3306/tcp"], "from": ["tag:web"]}
    assert expected in found["reach"]


@pytest.fixture
def expected(matrix: "Droplan", tmp_path: "Path") -> "Path":
    path = tmp_path / "expected.json"
    path.write_text(matrix("--json").stdout)
    return path


def test_what_was_written_is_as_expected(matrix: "Droplan", expected: "Path") -> None:
    """`--json` writes what `--expect` reads."""
    done = matrix("--expect", str(expected))
    assert (0, "as expected\n") == (done.returncode, done.stdout)


def test_a_policy_that_opens_more_is_told_and_fails(
    matrix: "Droplan", expected: "Path", config: "Path"
) -> None:
    """Exit code 1, and a line for each thing that is otherwise."""
    config.write_text(POLICY.replace('"22/tcp"', '"22-23/tcp"').replace("3306", "3307"))
    done = matrix("--expect", str(expected))
    assert 1 == done.returncode
    assert [
        "not as expected (+ is new, - is gone):",
        "  + tunnel-1 to web-1, web-2 on private: 23/tcp",
        "  + tunnel-1 to mysql-1 on private: 23/tcp",
        "  + web-1, web-2 to mysql-1 on private: 3307/tcp",
        "  - web-1, web-2 to mysql-1 on private: 3306/tcp",
    ] == _merged(done.stdout.splitlines())


def _merged(lines: list[str]) -> list[str]:
    """Targets that gain the same may stand in one line or in two."""
    out = []
    for line in lines:
        if "to web-1, web-2, mysql-1 on" in line:
            out.append(line.replace("web-1, web-2, mysql-1", "web-1, web-2"))
            out.append(line.replace("web-1, web-2, mysql-1", "mysql-1"))
        else:
            out.append(line)
    return out


def test_a_droplet_that_nobody_expected_is_named(
    matrix: "Droplan", expected: "Path", fleet_file: "Path"
) -> None:
    """A new server with the right tag is in; whoever wrote the expectation must say so."""
    page = json.loads(fleet_file.read_text())
    added = {**page["droplets"][1], "id": 77, "name": "web-3"}
    added["networks"] = {
        "v4": [{**added["networks"]["v4"][0], "ip_address": "10.10.0.77", "type": "private"}]
    }
    page["droplets"].append(added)
    page["meta"]["total"] += 1
    fleet_file.write_text(json.dumps(page))
    done = matrix("--expect", str(expected))
    assert (1, ["  + web-3: not expected"]) == (done.returncode, done.stdout.splitlines()[1:])
    told = json.loads(matrix("--expect", str(expected), "--json").stdout)
    assert {"ok": False, "new": ["web-3"], "missing": [], "modes": {}, "differences": []} == told


def test_a_policy_that_no_longer_drops_anything_is_told(
    matrix: "Droplan", expected: "Path", config: "Path"
) -> None:
    """Mode audit opens nothing in the policy, and everything in truth."""
    config.write_text(POLICY + '[[override]]\non = "tag:web"\nmode = "audit"\n')
    done = matrix("--expect", str(expected))
    assert 1 == done.returncode
    assert ["  ! web-1, web-2: mode audit was not expected"] == done.stdout.splitlines()[1:]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "nonsense", '{"groups": 3}', '{"groups": [], "outside": [], "reach": [{}]}', "[" * 9999],
)
def test_an_expectation_that_is_none_is_invalid_configuration(
    matrix: "Droplan", expected: "Path", text: str
) -> None:
    """Exit code 78, and how to write one; never a traceback."""
    expected.write_text(text)
    done = matrix("--expect", str(expected))
    assert 78 == done.returncode
    assert "droplan matrix --json > expected.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_expectation_that_is_not_there_is_said(matrix: "Droplan", tmp_path: "Path") -> None:
    """By its name."""
    done = matrix("--expect", str(tmp_path / "nowhere.json"))
    assert 78 == done.returncode
    assert "nowhere.json" in done.stderr


def test_warnings_go_beside_the_table(matrix: "Droplan", config: "Path") -> None:
    """A tag that no Droplet has is said, as `check` says it."""
    config.write_text(POLICY.replace("tag:web", "tag:wbe"))
    assert "warning: " in matrix().stderr


def test_a_page_that_cannot_be_written_is_an_error_of_one_sentence(matrix: "Droplan") -> None:
    """Exit code 1; nothing half-written."""
    done = matrix("--html", "/nowhere/at/all.html")
    assert 1 == done.returncode
    assert done.stderr.startswith("droplan: /nowhere/at/all.html cannot be written")


def _fleet(count: int) -> dict[str, Any]:
    droplets = [
        {
            "id": n,
            "name": f"role{n % 20}-{n}",
            "status": "active",
            "tags": [f"role{n % 20}", f"zone{n % 7}"],
            "region": {"slug": "nyc3", "name": "New York 3"},
            "vpc_uuid": "5a4981aa-9653-4bd1-bef5-d6bff52042e4",
            "networks": {
                "v4": [
                    {"ip_address": f"10.10.{n >> 8}.{n & 255}", "type": "private"},
                    {"ip_address": f"203.0.{n >> 8}.{n & 255}", "type": "public"},
                ],
                "v6": [{"ip_address": f"2001:db8::{n:x}", "type": "public"}],
            },
        }
        for n in range(1, count + 1)
    ]
    return {"droplets": droplets, "links": {}, "meta": {"total": count}}


def _spent() -> float:
    """Seconds of processor time of the programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_thousand_droplets_and_a_hundred_rules_take_less_than_two_seconds(
    matrix: "Droplan", fleet_file: "Path", config: "Path"
) -> None:
    """Of processor time, process start included, with tags that cross one another: there are many groups."""
    fleet_file.write_text(json.dumps(_fleet(1000)))
    rules = (
        f'[[allow]]\nname = "rule {n}"\non = "tag:role{n % 20}"\n'
        f'from = "tag:role{n * 7 % 20} or tag:zone{n % 7}"\nports = ["{1000 + n}/tcp"]\n'
        for n in range(100)
    )
    config.write_text("[private]\nallow_peers = false\n" + "\n".join(rules))
    took = []
    for _ in range(3):  # other work on the machine must not decide
        began = _spent()
        done = matrix("--json")
        took.append(_spent() - began)
        assert 1000 == sum(len(group["droplets"]) for group in json.loads(done.stdout)["groups"])
    assert min(took) < 2.0
