"""Which targets there are, and how many inputs of 100,000 each gets: more where they are quick."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .target import Target

SHARES = {
    "api": {"api-page": 6_000, "fleet-file": 4_000, "metadata": 8_000, "api-headers": 6_000},
    "state": {
        "checkpoint-body": 8_000,
        "checkpoint-file": 12_000,
        "boot-script": 6_000,
        "host-file": 3_000,
        "doubts": 4_000,
        "stance": 2_000,
        "generations": 5_000,
    },
    "netlink": {
        "nft-dump": 8_000,
        "nft-elements": 10_000,
        "netlink-datagram": 10_000,
        "nft-event": 6_000,
        "links": 4_000,
        "addresses": 4_000,
        "conntrack": 8_000,
        "ip-set": 6_000,
    },
    "iptables": {"iptables-save": 500, "ipset-save": 4_000, "nft-json": 6_000, "script": 4_000},
    "words": {"selector": 12_000, "policy-file": 3_000, "environment": 1_000},
}
"""Module of tests/fuzz/targets, target, inputs."""

INPUTS = {name: inputs for shares in SHARES.values() for name, inputs in shares.items()}


def target(name: str) -> "Target":
    """The target of this name; imports what it tests."""
    module = next(module for module, shares in SHARES.items() if name in shares)
    targets: dict[str, Target] = import_module(f"tests.fuzz.targets.{module}").TARGETS
    found, harmful = targets[name], [path.read_bytes() for path in findings(name)]
    return replace(found, seeds=lambda: [*found.seeds(), *harmful])


def findings(name: str) -> list[Path]:
    """Inputs that did harm once; seeds ever since."""
    return sorted((Path(__file__).parent / "findings" / name).glob("*"))
