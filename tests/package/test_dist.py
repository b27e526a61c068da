"""The wheel and the sdist: the same twice, whole, and told what is in them."""

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from droplan_daemon import __version__
from tests.package.tree import TOP, packaging

if TYPE_CHECKING:
    from pathlib import Path

_SDIST, _WHEEL = f"droplan_daemon-{__version__}.tar.gz", f"droplan_daemon-{__version__}-py3-none-any.whl"
_BILL = f"droplan_daemon-{__version__}.cdx.json"


@pytest.fixture(scope="module")
def made(trees: tuple["Path", "Path"], tmp_path_factory: pytest.TempPathFactory) -> "Path":
    """What `make dist` makes."""
    folder = tmp_path_factory.mktemp("dist")
    packaging(trees[0], "dist.py", "--output", str(folder))
    return folder


def test_built_twice_is_the_same(made: "Path", trees: tuple["Path", "Path"], tmp_path: "Path") -> None:
    """In another folder, of files with other times and modes, under another umask: byte for byte the same."""
    packaging(trees[1], "dist.py", "--output", str(tmp_path), umask=0o077)
    assert sorted([_BILL, _SDIST, _WHEEL]) == sorted(file.name for file in tmp_path.iterdir())
    assert _digests(made) == _digests(tmp_path)


def test_the_sdist_is_whole(made: "Path", tmp_path: "Path") -> None:
    """The same wheel can be made of it; units, packaging, docs and tests are in it, and nothing built."""
    subprocess.run(["tar", "-C", str(tmp_path), "-xf", str(made / _SDIST)], check=True)
    (tree,) = tmp_path.iterdir()
    packaging(tree, "dist.py", "--output", str(tmp_path / "dist"))
    assert _digests(made)[_WHEEL] == _digests(tmp_path / "dist")[_WHEEL]
    there = {file.name for file in tree.iterdir()}
    assert (
        set() == {"systemd", "packaging", "docs", "tests", "Makefile", "LICENSE", "requirements.txt"} - there
    )
    assert [] == [path for path in tree.rglob("*") if path.name in {"__pycache__", ".venv", "build", ".git"}]


def test_the_wheel_is_a_program(made: "Path", tmp_path: "Path") -> None:
    """Installed into an environment of its own (as pipx does), `droplan` is there and says its version."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = (
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
        str(made / _WHEEL),
    )
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True, timeout=120)
    done = subprocess.run(
        [str(python.with_name("droplan")), "--version"],
        env={"PYTHONPATH": sysconfig.get_path("purelib")},  # its libraries: those that are installed here
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, f"droplan {__version__}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_the_bill_says_what_is_locked(made: "Path") -> None:
    """Valid CycloneDX 1.6: each library of the lock with its digests and licence, and who needs whom."""
    text = (made / _BILL).read_text("utf-8")
    assert None is JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    bill, lock = json.loads(text), (TOP / "requirements.txt").read_text("utf-8")
    locked = re.findall(r"^([a-z0-9-]+)==([^ ]+)", lock, re.MULTILINE)
    assert sorted(locked) == sorted((one["name"], one["version"]) for one in bill["components"])
    digests = [ref["hashes"][0]["content"] for one in bill["components"] for ref in one["externalReferences"]]
    assert sorted(re.findall(r"sha256:([0-9a-f]{64})", lock)) == sorted(digests)
    assert [] == [one["name"] for one in bill["components"] if not one.get("licenses")]
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    ours = bill["metadata"]["component"]["bom-ref"]
    assert f"pkg:pypi/droplan-daemon@{__version__}" == ours
    assert {"httpx", "pydantic", "pyroute2", "sdnotify", "structlog"} == {
        re.sub(r".*/(.*)@.*", r"\1", ref) for ref in needs[ours]
    }
    assert [] == [
        ref for ref in needs if ref != ours and ref not in {one for all_ in needs.values() for one in all_}
    ]


def _digests(folder: "Path") -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
