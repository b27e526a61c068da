"""What the chains of the iptables backend are called, and what they stand for. PURE.

Laws:
1. A chain's name says of which chain of the Ruleset it is a form; no two chains share one.
2. Ours are the names of this grammar and nothing else, at most 28 characters long.

A place of the Ruleset that judges inbound traffic has two forms: LOCAL, entered from INPUT, where
what is allowed is accepted; and PASS, entered from FORWARD, where it returns, so that others still
judge it. Outbound there is PASS alone, entered from FORWARD and OUTPUT.

What holds while a lease runs has chains of the same names after a letter (`droplan-tpeers`). Each built-in
chain then enters a fork (`droplan-tinput`), which asks once for the lease and so never judges by halves.
"""

import re
from dataclasses import dataclass
from enum import Enum

ABOUT = "droplan-about"
"""A chain that nothing enters: its comments say what rules cannot."""

BUILT_IN = ("INPUT", "FORWARD", "OUTPUT")
INBOUND, OUTBOUND = "inbound", "outbound"
"""The base chains of a Ruleset."""

LENT = {"trial": "t", "pause": "s"}
"""The letter that the names of chains begin with which judge while a lease runs, and no others begin with."""

_PREFIX = "droplan-"
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


def lent(chain: str, lease: str) -> str:
    """The chain that judges in the place of one of ours, while the lease runs."""
    return _PREFIX + LENT[lease] + chain.removeprefix(_PREFIX)


def fork(built_in: str, lease: str) -> str:
    """The chain that a built-in one enters when there is a lease: what holds without it, after one test."""
    return f"{_PREFIX}{LENT[lease]}{built_in.lower()}"


def entry(built_in: str, lease: str) -> str:
    """The chain that a fork leads to while the lease runs."""
    return f"{fork(built_in, lease)}-on"


def lease_of(chain: str) -> str:
    """The lease that a chain of this name has to do with; empty: none."""
    return next((lease for lease in LENT if _place(chain, lease) or _own(chain, lease)), "")


def _place(chain: str, lease: str) -> str:
    """The built-in chain that a fork, or an entry, stands for."""
    return next((name for name in BUILT_IN if chain in {fork(name, lease), entry(name, lease)}), "")


def _own(chain: str, lease: str) -> str:
    """The chain of ours that a lent one stands in the place of."""
    start = _PREFIX + LENT[lease]
    found = _PREFIX + chain.removeprefix(start)
    return found if chain.startswith(start) and (found == ABOUT or _model(found)) else ""


def owned(chain: str) -> str:
    """The name without a lease's letter; of a chain that none lends, its own."""
    return next((found for lease in LENT if (found := _own(chain, lease))), chain)


def is_ours(chain: str) -> bool:
    """Whether droplan gives a chain this name."""
    return chain == ABOUT or bool(_model(chain)) or bool(lease_of(chain))


def model_of(chain: str) -> str | None:
    """The chain of the Ruleset that a chain has to do with; None for those about the whole."""
    lease = lease_of(chain)
    place = _place(chain, lease) if lease else chain
    if place in BUILT_IN:
        return OUTBOUND if place == "OUTPUT" else INBOUND
    found = _model(owned(chain))
    return f"{lease}.{found}" if lease and found else found


def judges(chain: str) -> bool:
    """Whether its packets are counted: those of chains that only lead on are not."""
    return chain not in BUILT_IN and not any(_place(chain, lease) for lease in LENT)


def _model(chain: str) -> str | None:
    return next((found for lane in LANES if (found := lane.model_of(chain))), None)
