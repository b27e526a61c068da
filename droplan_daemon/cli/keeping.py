"""Which Keeper the settings and this host ask for. A daemon with nothing to save imports none of it."""

from pathlib import Path

from droplan_daemon.backends import iptables_host
from droplan_daemon.backends.choice import rules_of_others, variant_of
from droplan_daemon.persist import layout
from droplan_daemon.persist.keeper import IptablesKeeper
from droplan_daemon.persist.tools import of_variant
from droplan_daemon.settings import IptablesSave, PersistSettings


def keeper(wanted: PersistSettings, variant: str = "", *, asked: bool = False) -> IptablesKeeper | None:
    """The Keeper for these settings; None: nothing is to be saved. `asked`: a person wants it now.

    `variant` is the kind of iptables that holds the rules (`nft`, `legacy`; empty: the one that the host's
    rules are in, or else what the host means by iptables).
    """
    if wanted.iptables_save is IptablesSave.OFF and not asked:
        return None
    there = _signs()
    base = layout.restored(there)
    strict = bool(base)
    if not base and (wanted.iptables_save is IptablesSave.ALWAYS or asked):
        base = layout.customary(there)
    files = layout.chosen(base, wanted.rules_v4, wanted.rules_v6, wanted.ipsets)
    always = wanted.iptables_save is IptablesSave.ALWAYS
    tools = of_variant(variant or _variant_in_use())
    return IptablesKeeper(files, tools, strict=strict and not always) if files else None


def clear(wanted: PersistSettings) -> tuple[Path, ...]:
    """Take droplan's rules out of the host's saved ones; the files that changed. Raises StoreFailed."""
    found = keeper(wanted, asked=True)
    return found.clear() if found else ()


def unrestored(wanted: PersistSettings) -> str:
    """That nothing on this host restores what is saved, and what would; empty where something does."""
    there = _signs()
    if layout.restored(there) or wanted.rules_v4 or wanted.rules_v6:
        return ""
    packages = " and ".join(layout.packages(there))
    return f"nothing on this host restores these files at boot; the packages {packages} would"


def _signs() -> frozenset[Path]:
    return frozenset(sign for sign in layout.SIGNS if sign.exists())


def _variant_in_use() -> str:
    """Empty where no variant of iptables has rules of others, or both have."""
    rules = {variant: rules_of_others(text) for variant, text in iptables_host.dumps().items()}
    return variant_of(rules)[0] or ""
