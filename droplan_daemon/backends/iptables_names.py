"""What the chains of the iptables backend are called, and what they stand for. PURE.

Laws:
1. A chain's name says of which chain of the Ruleset it is a form; no two chains share one.
2. Ours are the names of this grammar and nothing else, at most 28 characters long.

A place of the Ruleset that judges inbound traffic has two forms: LOCAL, entered from INPUT, where
what is allowed is accepted; and PASS, entered from FORWARD, where it returns, so that others still
judge it. Outbound there is PASS alone, entered from FORWARD and OUTPUT.
"""

import re
from dataclasses import dataclass
from enum import Enum

ABOUT = "droplan-about"
"""A chain that nothing enters: its comments say what rules cannot."""

BUILT_IN = ("INPUT", "FORWARD", "OUTPUT")
INBOUND, OUTBOUND = "inbound", "outbound"
"""The base chains of a Ruleset."""

_PIECE = re.compile(r"(?:rest|(?:tcp|udp)(?:-nat)?(?:-\d{1,5})?|[0-9a-f]{12})")
_PART = re.compile(r"[0-9a-f]{12}")


class Form(Enum):
    """What becomes of a packet that is allowed."""

    LOCAL = "ACCEPT"
    PASS = "RETURN"  # noqa: S105 - no password


@dataclass(frozen=True, slots=True)
class Lane:
    """One form of a place: `model` is its chain in the Ruleset, `main` its first chain here."""

    model: str
    form: Form
    main: str
    stem: str
    entered_from: tuple[str, ...]

    @property
    def inbound(self) -> bool:
        """Whether it judges what comes in."""
        return self.model.endswith("-in")

    @property
    def rest(self) -> str:
        """The chain with what follows the ports (PASS alone)."""
        return self._named("rest")

    def ports(self, protocol: str, *, natted: bool) -> str:
        """The chain that looks at ports of `tcp` or `udp`: the packet's, or those before DNAT."""
        return self._named(f"{protocol}-nat" if natted else protocol)

    def part(self, model: str) -> str:
        """The form of a chain that the ports lead to; ValueError for one that cannot have any."""
        digest = model.removeprefix(f"{self.model}-")
        if digest == model or not _PART.fullmatch(digest):
            message = f"a chain that iptables cannot hold: {model}"
            raise ValueError(message)
        return self._named(digest)

    def model_of(self, chain: str) -> str | None:
        """The chain of the Ruleset that this chain is a form, or a piece, of; None: not of this lane."""
        if chain == self.main:
            return self.model
        what = chain.removeprefix(f"droplan-{self.stem}-")
        if what == chain or not _PIECE.fullmatch(what):
            return None
        return f"{self.model}-{what}" if _PART.fullmatch(what) else self.model

    def _named(self, what: str) -> str:
        return f"droplan-{self.stem}-{what}"


LANES = (
    Lane("private-in", Form.LOCAL, "droplan-peers", "in", ("INPUT",)),
    Lane("public-in", Form.LOCAL, "droplan-peers-public", "pubin", ("INPUT",)),
    Lane("private-in", Form.PASS, "droplan-peers-fwd", "fwd", ("FORWARD",)),
    Lane("public-in", Form.PASS, "droplan-peers-public-fwd", "pubfwd", ("FORWARD",)),
    Lane("private-out", Form.PASS, "droplan-out", "out", ("FORWARD", "OUTPUT")),
    Lane("public-out", Form.PASS, "droplan-out-public", "pubout", ("FORWARD", "OUTPUT")),
)

READ = tuple(lane for lane in LANES if lane.form is Form.LOCAL or not lane.inbound)
"""One lane for each place: from them a Ruleset is read, the others must be their twins."""


def is_ours(chain: str) -> bool:
    """Whether droplan gives a chain this name."""
    return chain == ABOUT or any(lane.model_of(chain) for lane in LANES)


def model_of(chain: str) -> str | None:
    """The chain of the Ruleset that a chain has to do with; None for those about the whole."""
    if chain in BUILT_IN:
        return OUTBOUND if chain == "OUTPUT" else INBOUND
    return next((found for lane in LANES if (found := lane.model_of(chain))), None)
