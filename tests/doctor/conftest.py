"""A Droplet on a bench, and what doctor says of it."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Namespace


@dataclass(frozen=True)
class Told:
    """One answer of `droplan doctor --json`."""

    code: int
    findings: list[dict[str, str]]
    text: str

    def ids(self, *severities: str) -> list[str]:
        """The ids with these severities, in order, or all of them."""
        return [f["id"] for f in self.findings if not severities or f["severity"] in severities]

    def what(self, name: str) -> list[str]:
        """What the findings of this id say."""
        return [f["what"] for f in self.findings if f["id"] == name]


class Bench(Machine):
    """A Machine that asks a doctor."""

    def doctor(self, **more: Any) -> Told:
        done = self.droplan("doctor", "--json", **more)
        assert "" == done.stderr
        told = json.loads(done.stdout)
        assert told["ok"] == (done.returncode == 0)
        return Told(done.returncode, told["findings"], done.stdout)


@pytest.fixture
def bench(namespace: "Namespace", tmp_path: "Path") -> "Iterator[Bench]":
    """web-1 of the lab, in a namespace of its own."""
    with Bench(namespace, tmp_path) as made:
        yield made
