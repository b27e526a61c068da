"""Which Keeper the settings and this host ask for. A daemon with nothing to save imports none of it."""

from droplan_daemon.persist import layout
from droplan_daemon.persist.keeper import IptablesKeeper
from droplan_daemon.persist.tools import of_variant
from droplan_daemon.settings import IptablesSave, PersistSettings


def keeper(wanted: PersistSettings, variant: str = "", *, asked: bool = False) -> IptablesKeeper | None:
    """The Keeper for these settings; None: nothing is to be saved. `asked`: a person wants it now.

    `variant` is the kind of iptables that holds the rules (`nft`, `legacy`; empty: the host's own choice).
    """
    if wanted.iptables_save is IptablesSave.OFF and not asked:
        return None
    there = frozenset(sign for sign in layout.SIGNS if sign.exists())
    base = layout.restored(there)
    strict = bool(base)
    if not base and (wanted.iptables_save is IptablesSave.ALWAYS or asked):
        base = layout.customary(there)
    files = layout.chosen(base, wanted.rules_v4, wanted.rules_v6, wanted.ipsets)
    always = wanted.iptables_save is IptablesSave.ALWAYS
    return IptablesKeeper(files, of_variant(variant), strict=strict and not always) if files else None
