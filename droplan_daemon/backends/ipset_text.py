"""AddressSets as input for `ipset -exist restore`: what boot loads. PURE.

Laws:
1. Loaded into a kernel without sets, the text gives exactly what the daemon would write over netlink.
2. Loaded over an older state of ours it gives exactly the new one, and at no moment is a set
   without its content: each is built beside and swapped in.
3. A set of ours that stands with another capacity or type makes ipset(8) refuse the text before
   anything was changed: every set is named first.

Source: ipset(8). What no longer belongs is left standing: rules may name it until they are loaded.
"""

from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, format_address
from droplan_daemon.model.ruleset import SetKind

from .ipset_shape import buckets, entries, kernel_name, max_elements, spare_name, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from droplan_daemon.model.ruleset import AddressSet

_FAMILY = {Family.IPV4: "inet", Family.IPV6: "inet6"}


def render(sets: "Mapping[str, AddressSet]") -> str:
    """The text; ValueError for a set that no ip set can hold."""
    lines = [f"create {kernel_name(made.name)} {_form(made)}" for made in sets.values()]
    for made in sets.values():
        lines += _built(made)
    return "".join(f"{line}\n" for line in lines)


def _built(made: "AddressSet") -> "Iterator[str]":
    """`-exist` lets a spare be created that stands from a crash; flushed, it is as good as new."""
    spare = spare_name(made.name)
    yield f"create {spare} {_form(made)}"
    yield f"flush {spare}"
    for entry in sorted(entries(made)):
        yield f"add {spare} {_entry_text(made, entry)}"
    yield f"swap {spare} {kernel_name(made.name)}"
    yield f"destroy {spare}"


def _form(made: "AddressSet") -> str:
    size = buckets(made, len(entries(made)))
    return (
        f"{type_name(made.kind)} family {_FAMILY[made.family]} hashsize {size} maxelem {max_elements(made)}"
    )


def _entry_text(made: "AddressSet", entry: bytes) -> str:
    width = made.family.width
    if made.kind is SetKind.HOSTS:
        return format_address(entry)
    return f"{format_address(entry[:width])}/{entry[width]}"
