"""A host with iptables of its own: a namespace, and folders where its rules are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.persist.keeper import IptablesKeeper
from droplan_daemon.persist.layout import Layout
from droplan_daemon.persist.tools import Tools, of_variant

if TYPE_CHECKING:
    from droplan_daemon.persist.keeper import Result, Saved
    from tests.conftest import Namespace

VARIANTS = ("nft", "legacy")


@dataclass(frozen=True, slots=True)
class Keeping:
    """One host, and what its Keeper does there."""

    namespace: "Namespace"
    folder: Path
    layout: Layout
    tools: Tools

    def keeper(self, *, strict: bool = True, layout: Layout | None = None) -> IptablesKeeper:
        return IptablesKeeper(layout or self.layout, self.tools, strict=strict)

    def save(self, *, strict: bool = True, layout: Layout | None = None) -> "dict[str, Saved]":
        done = self.namespace.call(self.keeper(strict=strict, layout=layout).save)
        return {saved.path.name: saved for saved in done}

    def results(self) -> "dict[str, Result]":
        return {name: saved.result for name, saved in self.save().items()}

    def rules(self, text: str, family: int = 4) -> None:
        """Load rules of the table `filter`, beside what is there."""
        program = self.tools.test_v4[0] if family == 4 else self.tools.test_v6[0]
        self.namespace.run(program, "--noflush", text=f"*filter\n{text}COMMIT\n")

    def sets(self, text: str) -> None:
        self.namespace.run("ipset", "-exist", "restore", text=text)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


def needs(namespace: "Namespace", *programs: str) -> None:
    """Skip, by name, where a program is missing or the kernel does not serve it."""
    for words in programs:
        try:
            namespace.run(*words.split())
        except FileNotFoundError:
            pytest.skip(f"{words.split()[0]} is not installed")


@pytest.fixture(params=VARIANTS)
def host(request: pytest.FixtureRequest, namespace: "Namespace", tmp_path: Path) -> Keeping:
    """A host of each variant of iptables."""
    needs(namespace, f"iptables-{request.param}-save", "ipset list")
    layout = Layout(tmp_path / "rules.v4", tmp_path / "rules.v6", tmp_path / "ipsets")
    return Keeping(namespace, tmp_path, layout, of_variant(request.param))
