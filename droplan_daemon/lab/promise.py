"""What the tutorial promises of its servers, written down by hand.

Law: it is said of roles, ports and networks as the tutorial says it, and knows nothing of policies,
so that it can catch a policy, or the daemon, in a lie.
"""

from typing import TYPE_CHECKING

from .probe import Verdict

if TYPE_CHECKING:
    from .reach import Way

_SITE = frozenset({"wordpress", "mysql"})
"""Those who trust one another."""

_DOORS = (("haproxy", 80), ("tunnel", 22))
"""What the Internet may reach."""


def promised(way: "Way") -> Verdict:
    """Open or dropped, once droplan is there."""
    kept = _inside(way) if way.network == "eth1" else _outside(way)
    return Verdict.OPEN if kept else Verdict.DROPPED


def _inside(way: "Way") -> bool:
    ends = way.origin.role, way.target.role
    return (
        _SITE.issuperset(ends)
        or (way.origin.role == "tunnel" and way.port == 22)  # noqa: PLR2004 - ssh
        or (ends == ("haproxy", "wordpress") and way.port == 80)  # noqa: PLR2004 - http
    )


def _outside(way: "Way") -> bool:
    # haproxy-www faces the world, so it may start nothing towards it.
    return (way.target.role, way.port) in _DOORS and way.origin.role != "haproxy"
