"""What the API and the metadata service said, and what that means here. PURE."""

from typing import TYPE_CHECKING

from droplan_daemon.errors import RateLimited, SourceDenied, SourceDoubtful

from .finding import found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.errors import DroplanError

    from .facts import Api, Place
    from .finding import Finding

SLOW = 10.0
"""Seconds for all that was asked; a poll has thirty."""

SCARCE = 0.1
"""Of the hourly limit."""

_READS = "droplan needs droplet:read, vpc:read and vpc_peering:read, with rules about tags tag:read too"


def api(heard: "Api") -> "Iterator[Finding]":
    """Reachable, allowed, quick, and often enough."""
    for scope in heard.lacking:
        yield found("api.scope", f"the token lacks the scope {scope}", f"make one that has it: {_READS}")
    if heard.error is not None:
        yield _trouble(heard, heard.error)
    elif not heard.lacking:
        yield found(
            "api.reachable", f"{heard.url} answers within {heard.took:.1f} s, with every scope that is needed"
        )
    if heard.took > SLOW:
        yield found(
            "api.slow",
            f"{heard.url} took {heard.took:.0f} s for one poll",
            "look at DNS, and at the way to it: curl -v",
        )
    yield from _budget(heard)
    yield from _rights(heard)
    if heard.cloud_firewalls:
        names = ", ".join(heard.cloud_firewalls)
        yield found(
            "cloud_firewall.attached",
            f"the Cloud Firewall {names} judges public traffic before droplan does",
            "nothing; what it drops never comes here, whatever droplan lets in",
        )


def _trouble(heard: "Api", error: "DroplanError") -> "Finding":
    if isinstance(error, SourceDenied):
        return found("api.unauthorized", str(error), f"make a new token; {_READS}")
    if isinstance(error, RateLimited):
        return found(
            "api.limited", str(error), "see who else uses this token, and give droplan one of its own account"
        )
    if isinstance(error, SourceDoubtful):
        return found(
            "api.doubtful",
            str(error),
            f"look at what stands between here and {heard.url}; [source] url says where",
        )
    return found(
        "api.unreachable", str(error), f"curl -v {heard.url}/v2/droplets from here; let TCP 443 and DNS out"
    )


def _budget(heard: "Api") -> "Iterator[Finding]":
    budget = heard.budget
    if budget is None:
        return
    if budget.remaining < SCARCE * budget.limit:
        yield found(
            "api.limited",
            f"{budget.remaining:,} of {budget.limit:,} requests are left to the token this hour",
            "see who else uses this token",
        )
    if heard.period > heard.interval:
        yield found(
            "api.stretched",
            f"{heard.sharing:,} Droplets share the token's {budget.limit:,} requests an hour, so each asks "
            f"every {heard.period:.0f} s instead of every {heard.interval:.0f} s",
            "nothing, or give some of them a token of another team: the limit is per token",
        )


def _rights(heard: "Api") -> "Iterator[Finding]":
    if heard.wide:
        yield found(
            "token.wide",
            "the token may read the account, which droplan never asks for; it may well change things too",
            f"make one with custom scopes: {_READS}",
        )
    elif heard.error is None:
        yield found(
            "token.rights",
            "the API tells nobody what a token may change, and doctor tries nothing that could",
            f"see it in the control panel under API: {_READS}",
        )


def place(seen: "Place") -> "Iterator[Finding]":
    """This machine among the fleet."""
    if seen.metadata:
        yield found(
            "metadata.unreachable",
            seen.metadata,
            "let TCP port 80 of 169.254.169.254 out; without it, addresses tell who this is",
        )
    else:
        yield found("metadata.reachable", "the metadata service answers")
    if seen.unknown:
        yield found(
            "host.unknown", seen.unknown, "see which interfaces are up: ip -br link; droplan peers tells more"
        )
    elif seen.interfaces:
        yield found("host.known", f"interfaces: {seen.interfaces}")
    if seen.refused:
        yield found(
            "fleet.refused",
            seen.refused,
            "take a token of the account and team that this Droplet is in, with the scopes that it lacks",
        )
    elif seen.droplet:
        yield found(
            "fleet.good", f"this is {seen.droplet}; {seen.peers:,} of {seen.droplets:,} Droplets are peers"
        )
    if seen.skipped:
        yield found(
            "fleet.skipped",
            f"{seen.skipped:,} entries of the API's answer could not be read; nobody is removed meanwhile",
            "upgrade droplan; droplan peers --all shows who is known",
        )
    for doubt in seen.doubts:
        yield found(
            "fleet.doubt", doubt, "droplan check --fleet and droplan explain show what the policy means"
        )
