"""Whether somebody else's rules drop what droplan lets in. PURE.

Laws:
1. A rule that asks for more than an interface (an address, a port, a state) is somebody's intention and
   decides nothing here; what decides is what happens to everything else.
2. A drop is final wherever it stands, so every base chain of a hook is asked, whatever its priority.
3. Chains that jump to each other in a circle, or to one that is not there, end the question.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .finding import found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .facts import Chain, Firewalls, Rule
    from .finding import Finding

INBOUND, FORWARDED, OUTBOUND = {"prerouting", "input", "ingress"}, {"forward"}, {"output", "postrouting"}
_DEEPEST = 16  # the kernel's own limit of jumps


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a packet that no particular rule is about, and by what."""

    verdict: str
    by: str = ""


def concerns(rule: "Rule", link: str) -> bool:
    """Whether a rule is about packets of this interface."""
    named = any(fnmatchcase(link, name.removesuffix("+") + "*" * name.endswith("+")) for name in rule.links)
    return not rule.links or named != rule.others


def fate(base: "Chain", chains: "Mapping[str, Chain]", link: str) -> Fate:
    """What a base chain does with packets of one interface; `chains` are those of its table by name."""
    met = _walk(base, chains, link, _DEEPEST)
    return met or Fate(base.policy, "its policy")


def _walk(chain: "Chain", chains: "Mapping[str, Chain]", link: str, depth: int) -> Fate | None:
    for number, rule in enumerate(chain.rules, start=1):
        if rule.conditional or not concerns(rule, link):
            continue
        if rule.verdict in {"accept", "drop"}:
            return Fate(
                rule.verdict, f"its rule {number}" if chain.hook else f"rule {number} of {chain.name}"
            )
        if rule.verdict == "return":
            return None
        inner = chains.get(rule.target) if depth else None
        met = _walk(inner, chains, link, depth - 1) if inner else None
        if met or rule.verdict == "goto":
            return met
    return None


def judged(firewalls: "Firewalls", links: tuple[str, ...]) -> "Iterator[Finding]":
    """What the other firewalls of this machine mean for these interfaces."""
    findings = [*_walls(firewalls, links), *_neighbours(firewalls)]
    active = _managers(firewalls)
    spoken = {finding.id for finding in findings}
    yield from findings
    for manager in active:
        if f"firewall.{manager}" not in spoken:
            yield found(
                "firewall.beside",
                f"{manager} is active, and lets in what droplan lets in",
                f"what {manager} is told to drop is dropped as well; decide on one of the two",
            )
    if not spoken & {"firewall.drops", "firewall.drops_outbound", "firewall.ufw", "firewall.firewalld"}:
        yield found("firewall.good", "nobody else's rules drop what droplan lets in")


def _walls(firewalls: "Firewalls", links: tuple[str, ...]) -> "Iterator[Finding]":
    tables: dict[str, dict[str, Chain]] = {}
    for chain in firewalls.chains:
        tables.setdefault(chain.holder, {})[chain.name] = chain
    told: set[str] = set()
    for chain in (chain for chain in firewalls.chains if chain.hook):
        table = tables[chain.holder]
        dropped = {link: met for link in links if (met := fate(chain, table, link)).verdict == "drop"}
        if not dropped:
            continue
        finding = _wall(chain, manager_of(chain, table), dropped)
        if finding.id not in {"firewall.ufw", "firewall.firewalld"} or finding.id not in told:
            yield finding
        told.add(finding.id)


def manager_of(chain: "Chain", table: "Mapping[str, Chain]") -> str:
    """Who keeps this table: `ufw`, `firewalld`, `docker`, or nobody that we know."""
    if chain.holder.endswith(" firewalld"):
        return "firewalld"
    if any(name.startswith(("ufw-", "ufw6-")) for name in table):
        return "ufw"
    return "docker" if chain.hook == "forward" and any(name.startswith("DOCKER") for name in table) else ""


_MANAGED_FIX = {
    "ufw": "let droplan's interfaces through (ufw allow in on {link}), or switch ufw off: ufw disable",
    "firewalld": "trust the interface (firewall-cmd --permanent --zone=trusted --change-interface={link}; "
    "firewall-cmd --reload), or switch firewalld off: systemctl disable --now firewalld",
}


def _wall(chain: "Chain", manager: str, dropped: "Mapping[str, Fate]") -> "Finding":
    link, met = next(iter(dropped.items()))
    names = " and ".join(dropped)
    where = f"{chain.holder}, chain {chain.name} (hook {chain.hook}, priority {chain.priority})"
    if chain.hook in FORWARDED:
        what = f"{where} drops what is forwarded from {names}, but for what its rules accept ({met.by})"
        fix = "nothing, unless this Droplet forwards for others: then accept it there too"
        return found("firewall.drops_forwarded", what, fix)
    if chain.hook in OUTBOUND:
        what = f"{where} drops what leaves by {names}, but for what its rules accept ({met.by})"
        return found("firewall.drops_outbound", what, "accept there what must leave: TCP 443 to the API, DNS")
    if manager in _MANAGED_FIX:
        what = f"{manager} drops what comes in by {names}, whatever droplan lets in ({where})"
        return found(f"firewall.{manager}", what, _MANAGED_FIX[manager].format(link=link))
    what = f"{where} drops what comes in by {names}, but for what its rules accept ({met.by})"
    return found(
        "firewall.drops",
        what,
        f"accept {names} there and leave the judging to droplan: {_accepting(chain, link)}",
    )


def _accepting(chain: "Chain", link: str) -> str:
    if chain.holder.startswith("table "):
        return f"nft insert rule {chain.holder.removeprefix('table ')} {chain.name} iifname {link} accept"
    return f"{chain.holder} -I {chain.name} -i {link} -j ACCEPT"


def _managers(firewalls: "Firewalls") -> tuple[str, ...]:
    return tuple(name for name in ("ufw", "firewalld") if name in firewalls.active)


def _neighbours(firewalls: "Firewalls") -> "Iterator[Finding]":
    if any(chain.name == "DOCKER" for chain in firewalls.chains):
        yield found(
            "firewall.docker",
            "Docker has chains of its own; ports that it publishes are judged by droplan first, by the port "
            "that the sender uses",
            "nothing; who may reach a published port is what the policy says of that port",
        )
    if firewalls.legacy:
        yield found(
            "firewall.legacy",
            f"iptables-legacy holds {firewalls.legacy} rules, which judge every packet beside nftables",
            "look at them with iptables-legacy-save, and move them to one place",
        )
    if firewalls.flushing:
        yield found(
            "firewall.flushes",
            f"nftables.service is enabled, and {firewalls.flushing}: its start, reload and stop remove "
            "droplan's rules too",
            "nothing while the daemon runs, which puts them back within a second; better, name your own "
            "tables in /etc/nftables.conf (`flush table …`) instead of `flush ruleset`",
        )
