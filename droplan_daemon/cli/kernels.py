"""The Backends of this machine: which one is chosen, and that the others hold nothing of ours.

Laws:
1. A Backend is made once for each Choice, and kept: it knows what it saw last.
2. What others hold is removed only after the chosen one was read back.
3. A daemon on nftables imports nothing of iptables unless the machine has any of it.
"""

from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import KernelUnsupported, NotPermitted, Refusal, Retry
from droplan_daemon.model.policy import BackendName, Firewall
from droplan_daemon.model.ruleset import From, To
from droplan_daemon.reconcile import flush, put

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.backends.choice import Choice
    from droplan_daemon.backends.iptables import IptablesBackend
    from droplan_daemon.backends.nft import NftBackend
    from droplan_daemon.effects import Backend, Observation
    from droplan_daemon.model.ruleset import Ruleset

_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")


class Kernels:
    """Implements effects.Kernels. Blocking; for one thread at a time."""

    def __init__(self) -> None:
        self._made: dict[Choice, NftBackend | IptablesBackend] = {}
        self._chosen: Choice | None = None
        self._clean: Choice | None = None
        self._left: str = ""

    @property
    def current(self) -> "Backend | None":
        """What was chosen last."""
        return self._made[self._chosen] if self._chosen else None

    def choose(self, firewall: Firewall) -> "Backend":
        """The Backend that this asks for, on this host. Raises KernelUnsupported, NotPermitted."""
        found = _choice(firewall)
        if found not in self._made:
            self._made[found] = _permitted(found)
        self._chosen = found
        return self._made[found]

    def probe(self, firewall: Firewall) -> None:
        """Whether this could be chosen; it is not. Raises KernelUnsupported, NotPermitted."""
        found = _choice(firewall)
        if found not in self._made:
            with closing(_permitted(found)) as backend:
                backend.generation()

    def close(self) -> None:
        """Close every Backend; what they hold stays."""
        for made in self._made.values():
            made.close()

    def about(self) -> tuple[str, tuple[str, ...]]:
        """What was chosen and why, and what a person should know about it."""
        if self._chosen is None:
            return "", ()
        own: tuple[str, ...] = getattr(self._made[self._chosen], "cautions", tuple)()
        return str(self._chosen), tuple(filter(None, (self._chosen.caution, *own, self._left)))

    def elsewhere(self) -> "tuple[str, Ruleset] | None":
        """What stands in a form that is not chosen, after its name; it goes when the chosen one stands."""
        if self._chosen is None:
            return None
        with suppress(Retry, Refusal, KernelUnsupported):
            return next(_forms(self._chosen), None)
        return None

    def make_way(self) -> None:
        """Have rules of another variant of iptables name no ip set: while they do, it cannot be made anew.

        They go on judging as they did, each member by a rule of its own, until `leave_others`.
        """
        if self._chosen is None or self._chosen.backend is not BackendName.IPTABLES:
            return
        with suppress(Retry, Refusal, KernelUnsupported):  # then the conflict goes on, and is told
            for other in _of_iptables(self._chosen):
                _without_sets(other)

    def leave_others(self, *, again: bool = False) -> None:
        """Remove what a Backend that is not chosen still holds; what cannot be is told, and tried again."""
        if self._chosen is None or (self._clean == self._chosen and not again):
            return
        try:
            for other in _others(self._chosen):
                try:
                    flush(other)
                finally:
                    other.close()
            self._clean, self._left = self._chosen, ""
        except (Retry, Refusal, KernelUnsupported) as error:
            self._left = f"what another backend of droplan's held could not be removed yet: {error}"


def _choice(firewall: Firewall) -> "Choice":
    from droplan_daemon.backends.choice import Choice, backend_of, variant_of

    if firewall.backend is BackendName.NFTABLES or not _has_iptables(firewall):
        return Choice(BackendName.NFTABLES, why=backend_of(firewall, ())[1])
    from droplan_daemon.backends import iptables_host

    restored = iptables_host.restored_rules()
    name, why = backend_of(firewall, restored)
    if name is BackendName.NFTABLES:
        return Choice(name, why=why)
    from droplan_daemon.backends.choice import rules_of_others, without_rights
    from droplan_daemon.backends.iptables_program import DROP_IN, may_run

    if firewall.backend is BackendName.AUTO and not may_run():
        return without_rights(restored[0], DROP_IN)

    rules = {variant: rules_of_others(text) for variant, text in iptables_host.dumps().items()}
    variant, caution = variant_of(rules)
    return Choice(name, variant, firewall.ipset, why, caution)


def _has_iptables(firewall: Firewall) -> bool:
    """Whether iptables may come into it: an explicit choice is told what is missing by the backend."""
    return firewall.backend is BackendName.IPTABLES or _is_there("iptables-restore")


def _is_there(program: str) -> bool:
    """As shutil.which, which would load two compressors into the daemon: 0.8 MB."""
    return any(Path(folder, program).exists() for folder in _FOLDERS)


def _permitted(choice: "Choice") -> "NftBackend | IptablesBackend":
    """The Backend of a Choice, if this process has the rights for it. Raises NotPermitted."""
    if choice.backend is BackendName.IPTABLES:
        from droplan_daemon.backends.iptables_program import DROP_IN, may_run

        if not may_run():
            message = "rules of iptables need root, or CAP_NET_ADMIN and CAP_NET_RAW; for the service:"
            raise NotPermitted(f"{message} {DROP_IN}")
    return _backend(choice)


def _backend(choice: "Choice") -> "NftBackend | IptablesBackend":
    if choice.backend is BackendName.NFTABLES:
        from droplan_daemon.backends.nft import NftBackend

        return NftBackend()
    from droplan_daemon.backends.iptables import IptablesBackend

    return IptablesBackend(choice.variant, ipset=choice.ipset)


def _forms(chosen: "Choice") -> "Iterator[tuple[str, Ruleset]]":
    """What each other Backend holds, and this one in its other form: in ip sets, or without."""
    if chosen.backend is BackendName.IPTABLES and (found := _in_form(chosen.variant, ipset=not chosen.ipset)):
        yield f"iptables {'without' if chosen.ipset else 'with'} ip sets", found
    for other in _others(chosen):
        with closing(other):
            if isinstance(variant := getattr(other, "variant", None), str):
                found = _in_form(variant, ipset=False) or _in_form(variant, ipset=True)
                name = f"iptables ({variant})"
            else:
                found, name = other.observe().ruleset, other.name
        if found:
            yield name, found


def _in_form(variant: str | None, *, ipset: bool) -> "Ruleset | None":
    """What this variant of iptables holds, if it makes sense in this form: every set in use has members."""
    from droplan_daemon.backends.iptables import IptablesBackend

    with closing(IptablesBackend(variant, ipset=ipset, alone=ipset)) as backend:
        found = backend.observe().ruleset
    if found is None:
        return None
    rules = (rule for chain in found.chains.values() for rule in chain.rules)
    used = {match.set for rule in rules for match in rule.matches if isinstance(match, From | To)}
    return found if found.sets and used <= found.sets.keys() else None


def _without_sets(other: "IptablesBackend") -> None:
    """The same rules, in the form without ip sets. Raises Retry, Refusal or KernelUnsupported."""
    from droplan_daemon.backends.iptables import IptablesBackend

    with_sets = IptablesBackend(other.variant)
    try:
        found = with_sets.observe().ruleset
        if found and found.sets:
            put(other, found)
    finally:
        with_sets.close()
        other.close()


def all_backends() -> "Iterator[NftBackend | IptablesBackend]":
    """Every Backend that may hold something of ours."""
    from droplan_daemon.backends.nft import NftBackend

    yield NftBackend()
    yield from _of_iptables(None)


def in_its_form(backend: "Backend", seen: "Observation") -> "tuple[Backend, Observation]":
    """The same, for rules of iptables without ip sets by a Backend that reads them so."""
    variant = getattr(backend, "variant", None)
    if variant is None or not (seen.ruleset and seen.ruleset.flags):
        return backend, seen
    from droplan_daemon.backends.iptables import IptablesBackend

    other = IptablesBackend(variant, ipset=False)
    found = other.observe()
    return (other, found) if found.ruleset and not found.ruleset.flags else (backend, seen)


def _others(chosen: "Choice") -> "Iterator[NftBackend | IptablesBackend]":
    if chosen.backend is BackendName.IPTABLES:
        with suppress(KernelUnsupported):
            yield _backend(replace(chosen, backend=BackendName.NFTABLES))
        yield from _of_iptables(chosen)
    else:
        yield from _of_iptables(None)


def _of_iptables(chosen: "Choice | None") -> "Iterator[IptablesBackend]":
    """The variants of iptables that hold chains of ours, but for the one that is chosen."""
    if not any(map(_is_there, ("iptables-save", "ip6tables-save"))):
        return
    from droplan_daemon.backends import iptables_host

    own = (chosen.variant or iptables_host.own_variant()) if chosen else None
    used = [variant for variant in iptables_host.variants_in_use() if variant != own]
    for variant in used:
        from droplan_daemon.backends.iptables import IptablesBackend

        # The sets are those of the rules that stay; without any, they go with the last.
        last = chosen is None and variant == used[-1]
        yield IptablesBackend(variant, ipset=last, alone=last)
