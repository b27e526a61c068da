"""Who may see what: bearer tokens and their scopes.

Law: a missing scope hides, as at DigitalOcean: a whole endpoint (403), or a field of an answer
that is 200 all the same. `rendering` asks a Grant field by field.

Source: the "Requires … scope" notes of the published OpenAPI description.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LAB_TOKEN = "dop_v1_lab_full_access"  # noqa: S105 - of the emulation: it opens nothing elsewhere
"""The token that every emulated account knows at first."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows: `scopes` like `droplet:read`, or None for everything."""

    scopes: frozenset[str] | None = None

    def allows(self, scope: str) -> bool:
        """Whether this scope is granted."""
        return self.scopes is None or scope in self.scopes


FULL = Grant()
READ_ONLY = Grant(
    frozenset(
        f"{noun}:read"
        for noun in (
            "account",
            "actions",
            "block_storage",
            "droplet",
            "image",
            "reserved_ip",
            "sizes",
            "tag",
            "vpc",
            "vpc_peering",
        )
    )
)


def scoped(*scopes: str) -> Grant:
    """A Grant of just these scopes."""
    return Grant(frozenset(scopes))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that an account knows. Never shown: the repr has none."""

    grants: "Mapping[str, Grant]" = field(default_factory=lambda: {LAB_TOKEN: FULL}, repr=False)

    def grant(self, authorization: str) -> Grant | None:
        """The Grant behind an `authorization` header; None: nobody we know."""
        return self.grants.get(bearer(authorization))


def bearer(authorization: str) -> str:
    """The token in an `authorization` header, or the empty string."""
    scheme, _, token = authorization.partition(" ")
    return token if scheme.lower() == "bearer" else ""
