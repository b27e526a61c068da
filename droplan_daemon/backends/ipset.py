"""The ip sets of this network namespace: observed and changed over netlink.

Laws:
1. Only sets whose names begin with `dp-` or `dn-` are read or written; the entries of others are
   never even asked for.
2. A set in force holds its old content or its new one, whenever we are killed; what is left of a
   crash (`dn-…`) goes at the next `prepare`.
3. Nobody who is in a set before and after a change is out of it in between.

How to change sets and rules together, for the one who writes the rules:

    beside = sets.prepare(observed, desired, rules_change=True)
    ...  the new rules, where each set of `beside` goes by `spare_name(...)` instead of `kernel_name(...)`
    if beside:
        sets.settle(beside, desired)
        ...  the new rules again, under the sets' own names
    sets.retire(observed, desired)

So old rules see the old content and new rules the new one, though the kernel knows no transaction
over both: each iptables-restore is the moment of change, and the second changes names only. Where
only members change, `rules_change=False` does it in place and gives an empty `beside`; but a set
whose type or family changes under its name cannot be swapped, and is given as `beside` even then.
"""

import errno
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from droplan_daemon.errors import CommitConflict, CommitRejected, CommitUnknown, KernelUnsupported
from droplan_daemon.model.addresses import Family
from droplan_daemon.model.ruleset import AddressSet, SetKind

from . import ipset_wire as wire
from .ipset_lease import NAMES as LEASES
from .ipset_shape import (
    IN_FORCE,
    ODD_OPTIONS,
    ODD_TYPE,
    SPARE,
    capacity_of,
    elements,
    kernel_name,
    kind_of,
    ruleset_name,
    spare_name,
    type_name,
)
from .ipset_socket import IpsetSocket, ListingChangedError
from .ipset_steps import build, difference, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .ipset_socket import Refused
    from .ipset_steps import Steps

_READS = 8  # somebody may change a set while it is read; this often in a row, nobody does
_BUSY = frozenset({errno.EBUSY, wire.BUSY, wire.REFERENCED})
_TRIES, _PAUSE = 20, 0.02  # seconds; a listing by somebody else holds a set for as long as it takes


class _ShortReadError(Exception):
    """A set changed between its header and its entries."""


class IpSets:
    """Ours of the kernel's ip sets. Blocking; for one thread at a time.

    Every call may raise NotPermitted, KernelUnsupported (feature `ipset`), CommitUnknown (no answer;
    observe again) and CommitConflict (somebody else changed our sets, or holds one; look again).
    """

    def __init__(self, deadline: float = 5.0) -> None:
        self._socket = IpsetSocket(deadline)
        self._revisions: dict[tuple[SetKind, Family], int] = {}
        self._spares = set[str]()  # sets of ours that are none in force, as far as we know
        self._looked = False

    def close(self) -> None:
        """Close the socket; the sets stay."""
        self._socket.close()

    def headers(self) -> "tuple[wire.Header, ...]":
        """What the kernel says of each of our sets without its entries: cheap, and shows most changes.

        Raises CommitConflict when they keep changing.
        """
        for _ in range(_READS):
            with suppress(ListingChangedError):
                return self._headers()
        raise CommitConflict("the ip sets kept changing while they were read")

    def _headers(self) -> "tuple[wire.Header, ...]":
        self._greet()
        bodies = self._socket.listing(wire.ask_headers())
        try:
            found = [header for body in bodies if (header := wire.read_header(body))]
        except ValueError as error:
            raise _garbled() from error
        ours = tuple(header for header in found if header.name.startswith((IN_FORCE, SPARE)))
        self._spares = {header.name for header in ours if ruleset_name(header.name) is None}
        self._looked = True
        return ours

    def observe(self) -> dict[str, AddressSet]:
        """The sets in force by their Ruleset's name.

        One that droplan never makes so (another type, a time limit, a comment …) has a negative
        capacity and no elements: it equals none that is desired.
        """
        for _ in range(_READS):
            try:
                found = (header for header in self._headers() if header.name not in LEASES)
                named = {name: header for header in found if (name := ruleset_name(header.name))}
                return {name: self._read(name, named[name]) for name in sorted(named)}
            except (ListingChangedError, _ShortReadError):
                continue
            except ValueError as error:
                raise _garbled() from error
        raise CommitConflict("the ip sets kept changing while they were read")

    def prepare(
        self, observed: "Mapping[str, AddressSet]", desired: "Mapping[str, AddressSet]", *, rules_change: bool
    ) -> frozenset[str]:
        """Make every desired set stand; sets that are not desired stay. Returns those that stand beside.

        Raises CommitRejected when the kernel refuses a set or a member (nothing has changed), and
        CommitUnknown when it refuses what it should not have (read back).
        """
        self._greet()
        self._sweep()
        try:
            stuck = {name for name in desired if spare_name(name) in self._spares}
            new = {name: desired[name] for name in desired.keys() - stuck}
            made = steps(observed, new, self._revision, rules_change=rules_change)
        except ValueError as error:
            raise CommitRejected(f"{error}; set firewall.ipset = false", errno=errno.EINVAL) from error
        self.settle([name for name in stuck if observed.get(name) != desired[name]], desired)
        self._build(made.unseen)
        self._spares |= {spare_name(name) for name in made.beside}
        self._show(made, observed, desired)
        self._destroy(list(made.swaps))
        return frozenset(made.beside)

    def settle(self, beside: "Iterable[str]", desired: "Mapping[str, AddressSet]") -> None:
        """Make anew, under their own names, sets that no rule names now: the rules name the spares."""
        names = sorted(beside)
        self._destroy([kernel_name(name) for name in names])
        commands = [
            command
            for name in names
            for command in build(
                desired[name],
                kernel_name(name),
                self._revision(desired[name].kind, desired[name].family),
            )
        ]
        self._build(commands)

    def retire(self, observed: "Mapping[str, AddressSet]", desired: "Mapping[str, AddressSet]") -> None:
        """Destroy what no rule names any more: the sets that are not desired, and every spare."""
        self._greet()
        self._sweep()
        self._destroy([kernel_name(name) for name in observed if name not in desired])

    def listing(self, name: str) -> list[bytes]:
        """One set, with its entries. Raises ListingChangedError."""
        return self._socket.listing(wire.ask_entries(name))

    def carry_out(self, commands: "Iterable[wire.Command]") -> None:
        """In one datagram, about sets that must be there."""
        self._insist(self._socket.tell(list(commands)))

    def replace(self, gone: "Sequence[str]", made: "Callable[[int], Iterable[wire.Command]]") -> None:
        """Destroy these sets; then make others, which take a revision of `hash:net`."""
        self._greet()
        self._destroy(gone)
        self._build(list(made(self._revision(SetKind.RANGES, Family.IPV4))))

    def _greet(self) -> None:
        """Once: are there ip sets, and do we speak one language?"""
        if self._revisions:
            return
        oldest, newest = wire.read_protocol(self._socket.ask(wire.ask_protocol()))
        if not oldest <= wire.OLDEST_PROTOCOL <= newest:
            message = (
                f"this kernel speaks version {oldest} to {newest} of the ip set protocol, droplan "
                f"{wire.OLDEST_PROTOCOL}; set firewall.ipset = false, or upgrade droplan"
            )
            raise KernelUnsupported(message, feature="ipset")
        self._revision(SetKind.HOSTS, Family.IPV4)

    def _revision(self, kind: SetKind, family: Family) -> int:
        """The revision of a type that this kernel makes and every ipset(8) can list."""
        if (kind, family) not in self._revisions:
            answer = self._socket.ask(wire.ask_type(type_name(kind), family))
            self._revisions[kind, family] = wire.read_revision(answer)
        return self._revisions[kind, family]

    def _read(self, name: str, header: wire.Header) -> AddressSet:
        kind, family = kind_of(header.type), header.family
        if kind is None or family is None:
            return AddressSet(name, family or Family.IPV4, kind or SetKind.HOSTS, ODD_TYPE)
        capacity = capacity_of(kind, family, header.most) if header.plain else ODD_OPTIONS
        if capacity == ODD_OPTIONS:
            return AddressSet(name, family, kind, ODD_OPTIONS)
        held = self._entries(header, kind, family)
        found = None if held is None else elements(kind, family, held)
        if found is None:
            return AddressSet(name, family, kind, ODD_OPTIONS)
        return AddressSet(name, family, kind, capacity, found)

    def _entries(self, header: wire.Header, kind: SetKind, family: Family) -> frozenset[bytes] | None:
        """All entries of a set; None when one of them is more than an address."""
        bodies = self._socket.listing(wire.ask_entries(header.name))
        ranges = kind is SetKind.RANGES
        again = next((found for body in bodies if (found := wire.read_header(body))), None)
        try:
            held = frozenset(
                e for body in bodies for e in wire.read_entries(body, family.width, ranges=ranges)
            )
        except wire.ForeignEntryError:
            return None
        if again is None or (again.type, again.most) != (header.type, header.most):
            raise _ShortReadError
        if again.count is not None and again.count != len(held):
            raise _ShortReadError
        return held

    def _sweep(self) -> None:
        """Destroy what a crash left beside; a spare that a rule still names stays."""
        if not self._looked:
            self.headers()
        refused = self._socket.tell([wire.destroy(name) for name in sorted(self._spares)])
        self._spares = {item.command.name for item in refused if item.number in _BUSY}
        _raise_first([item for item in refused if item.number not in _BUSY | {errno.ENOENT}])

    def _build(self, commands: "Sequence[wire.Command]") -> None:
        """Make sets that no rule sees; all or none."""
        refused = self._socket.tell(commands)
        if refused:
            made = [command.name for command in commands if command.kind == wire.CREATE]
            in_the_way = {item.command.name for item in refused if item.number == errno.EEXIST}
            self._socket.tell([wire.destroy(name) for name in made if name not in in_the_way])
            raise refused[0].error()

    def _show(
        self, made: "Steps", observed: "Mapping[str, AddressSet]", desired: "Mapping[str, AddressSet]"
    ) -> None:
        """Let the rules see it. A set that somebody is listing cannot be swapped; it can be edited."""
        refused = self._socket.tell(made.seen)
        busy = {item.command.name for item in refused if item.number == errno.EBUSY}
        held = [name for spare, name in made.swaps.items() if spare in busy]
        edits = {name: difference(observed[name], desired[name]) for name in held}
        fitting = {name: edit for name, edit in edits.items() if edit.fits}
        left = [item for item in refused if made.swaps.get(item.command.name) not in fitting]
        left += self._socket.tell([command for edit in fitting.values() for command in edit.come])
        left += self._socket.tell([command for edit in fitting.values() for command in edit.go])
        self._insist(left)

    def _destroy(self, names: "Sequence[str]") -> None:
        """Remove sets; one that is gone already is what was wanted."""
        refused = self._socket.tell([wire.destroy(name) for name in names])
        self._insist([item for item in refused if item.number != errno.ENOENT])

    def _insist(self, refused: "Sequence[Refused]") -> None:
        """Try again what is busy for a moment: somebody lists our sets."""
        left = list(refused)
        for _ in range(_TRIES):
            if not left or any(item.number not in _BUSY for item in left):
                break
            time.sleep(_PAUSE)
            left = self._socket.tell([item.command for item in left])
        self._looked = self._looked and not left
        _raise_first(left)


def _garbled() -> CommitUnknown:
    return CommitUnknown("the kernel's ip sets could not be read", reason="garbled")


def _raise_first(refused: "Sequence[Refused]") -> None:
    """Others of the same datagram were carried out: no refusal here means that nothing changed."""
    if not refused:
        return
    error = refused[0].error()
    if isinstance(error, CommitRejected):
        raise CommitUnknown(str(error), reason="refused") from error
    raise error
