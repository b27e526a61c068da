"""Looks at the machine: programs that print, /proc, files. Nothing is changed.

Laws: every program ends within PATIENCE; what a program says decides nothing; a part that cannot be
looked at is an Unlooked, never an exception.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.backends import iptables_host
from droplan_daemon.backends.choice import VARIANTS, rules_of_others
from droplan_daemon.errors import DroplanError, StoreFailed
from droplan_daemon.migrate import chains as old_chains
from droplan_daemon.model.addresses import Family
from droplan_daemon.persist.tools import NotInstalled, output

from . import iptables_dump, nft_json
from .facts import Chain, Firewalls, Kernel, Node, Unit, Unlooked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from droplan_daemon.migrate.chains import Leftovers

PATIENCE = 10.0
"""Seconds for one program."""

AS_ROOT = "sudo droplan doctor"
UNITS = ("droplan.service", "droplan-restore.service", "nftables.service", "firewalld.service")
_PROGRAMS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_FAMILIES = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_SYSTEMD = "run/systemd/system"
_NFTABLES_UNITS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")

Dumps = dict[tuple[str, Family], str]


def dumps() -> Dumps:
    """What iptables-save says, by variant and family, empty ones left out. Raises DroplanError."""
    found = {
        (variant, family): iptables_host.dumped(variant, family) for variant in VARIANTS for family in Family
    }
    return {key: text for key, text in found.items() if text}


def firewalls(
    rules: "Dumps | Unlooked", units: "Iterable[Unit]", root: Path = Path("/")
) -> Firewalls | Unlooked:
    """Every chain of somebody else's, and what its owners do."""
    if isinstance(rules, Unlooked):
        return rules
    told = frozenset(
        (_FAMILIES[family], "filter") for (variant, family), _ in rules.items() if variant == "nft"
    )
    try:
        mine = _nft_chains(told)
    except StoreFailed as error:
        return Unlooked("other people's nftables rules", str(error), AS_ROOT)
    others = [
        chain
        for (variant, family), text in rules.items()
        for chain in iptables_dump.chains(text, f"{_PROGRAMS[family]}-{variant}")
    ]
    legacy = sum(rules_of_others(text) for (variant, _), text in rules.items() if variant == "legacy")
    found = (*mine, *others)
    return Firewalls(found, legacy, flushing(root), _active(found, units))


def _nft_chains(told: frozenset[tuple[str, str]]) -> tuple[Chain, ...]:
    """Without nft there may be tables all the same, but on such a machine nobody made any."""
    try:
        text = output(("nft", "--json", "list", "ruleset"), patience=PATIENCE)
    except NotInstalled:
        return ()
    return nft_json.chains(text, but=told)


def _active(found: "Iterable[Chain]", units: "Iterable[Unit]") -> tuple[str, ...]:
    names = {unit.name.removesuffix(".service") for unit in units if unit.active == "active"}
    for chain in found:
        if chain.name.startswith(("ufw-", "ufw6-")):
            names.add("ufw")
        elif chain.holder.endswith(" firewalld"):
            names.add("firewalld")
    return tuple(sorted(names & {"ufw", "firewalld"}))


def flushing(root: Path = Path("/")) -> str:
    """By what nftables.service, if it is enabled, flushes everything; empty: it does not."""
    if not any(
        (wants / "nftables.service").is_symlink() for wants in (root / "etc/systemd/system").glob("*.wants")
    ):
        return ""
    found = []
    if _says(text(root / "etc/nftables.conf"), "flush ruleset"):
        found.append("/etc/nftables.conf begins with `flush ruleset`")
    if any("flush ruleset" in text(root / folder / "nftables.service") for folder in _NFTABLES_UNITS):
        found.append("its stop is `nft flush ruleset`")
    return " and ".join(found)


def _says(content: str, words: str) -> bool:
    return any(line.split("#")[0].strip().startswith(words) for line in content.splitlines())


def old_droplan(rules: Dumps) -> "Mapping[str, Leftovers]":
    """What the old program left in iptables, by program."""
    return {
        f"{_PROGRAMS[family]}-{variant}": old_chains.leftovers(text)
        for (variant, family), text in rules.items()
    }


def units(root: Path = Path("/")) -> tuple[Unit, ...] | Unlooked:
    """The units that matter, as systemd knows them."""
    if not (root / _SYSTEMD).is_dir():
        return Unlooked("systemd's units", "systemd does not run here", "run droplan once from cron instead")
    shown = ("systemctl", "show", "--property=Id,LoadState,UnitFileState,ActiveState", *UNITS)
    try:
        return read_units(output(shown, patience=PATIENCE))
    except StoreFailed as error:
        return Unlooked("systemd's units", str(error), AS_ROOT)


def read_units(printed: str) -> tuple[Unit, ...]:
    """The units in what `systemctl show` prints: a paragraph each."""
    paragraphs = (
        dict(line.partition("=")[::2] for line in part.splitlines()) for part in printed.split("\n\n")
    )
    return tuple(
        Unit(one["Id"], one.get("LoadState", ""), one.get("UnitFileState", ""), one.get("ActiveState", ""))
        for one in paragraphs
        if one.get("Id")
    )


def synchronised() -> bool | None:
    """Whether something sets the clock; None where nobody tells."""
    with suppress(StoreFailed):
        shown = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
        return {"yes": True, "no": False}.get(output(shown, patience=PATIENCE).strip())
    return None


def kernel(
    links: "Iterable[str]",
    lacking: tuple[str, ...] | None,
    *,
    enforced: bool,
    proc: Path = Path("/proc/sys/net"),
) -> Kernel:
    """Settings of this network namespace."""
    return Kernel(
        lacking=lacking,
        tracked=_number(proc / "netfilter/nf_conntrack_count"),
        room=_number(proc / "netfilter/nf_conntrack_max"),
        tcp_loose=_number(proc / "netfilter/nf_conntrack_tcp_loose") == 1,
        rp_filter={
            link: value for link in links if (value := _rp_filter(proc / "ipv4/conf", link)) is not None
        },
        ipv6=_number(proc / "ipv6/conf/all/disable_ipv6") == 0,
        enforced=enforced,
    )


def _rp_filter(conf: Path, link: str) -> int | None:
    """The stricter of the interface's own and that of all counts. Source: ip-sysctl.rst."""
    own, every = _number(conf / link / "rp_filter"), _number(conf / "all/rp_filter")
    return None if own is None else max(own, every or 0)


def _number(path: Path) -> int | None:
    content = text(path).strip()
    return int(content) if content.isascii() and content.isdigit() else None


def text(path: Path) -> str:
    """A file of bounded size; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def node(path: Path) -> Node | None:
    """Owner and mode; None where there is nothing, or nothing that may be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Node(str(path), found.st_uid, found.st_mode & 0o7777)


def readable(path: Path) -> bool:
    """Whether this user may look into a folder."""
    return os.access(path, os.R_OK | os.X_OK)


def gathered(what: str, error: DroplanError) -> Unlooked:
    """A part that an error kept from being looked at."""
    return Unlooked(what, str(error).rstrip("."), AS_ROOT)
