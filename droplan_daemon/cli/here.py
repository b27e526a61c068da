"""Who is connected to this machine's management ports, and by which connection the caller is.

Law: asks the kernel and decides nothing; what cannot be asked is not known, and no error.
"""

import os
from typing import TYPE_CHECKING

from droplan_daemon.errors import Fatal, HostUnknown
from droplan_daemon.model.connection import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from droplan_daemon.model.addresses import Address
    from droplan_daemon.model.connection import Connection


def sessions() -> tuple[Session, ...]:
    """Every open connection to an address of this machine, by whoever opened it elsewhere."""
    where = _places()
    return tuple(_arrived(_open_now(), where))


def caller(among: "Iterable[Session] | None" = None) -> Session | None:
    """The SSH connection that this command is typed in, if it is still open. None: there is none.

    `among`: what `sessions` told, where that was asked already.
    """
    from droplan_daemon.settings import environment
    from droplan_daemon.sources.caller import VARIABLE, caller

    found = caller(environment().get(VARIABLE, ""), os.getpid())
    if found is None:
        return None
    known = sessions() if among is None else among
    end = found.source, found.source_port
    return next((one for one in known if (one.connection.source, one.connection.source_port) == end), None)


def _places() -> "Mapping[Address, str]":
    """The interface that has each address."""
    from droplan_daemon.sources.links import read_links

    try:
        return {address: link.name for link in read_links() for address in link.addresses}
    except HostUnknown:
        return {}


def _open_now() -> "Iterator[Connection]":
    """What is tracked, then what programs have open and nobody tracks."""
    from droplan_daemon.sources.conntrack import Conntrack
    from droplan_daemon.sources.sockets import Sockets

    seen = set()
    for source in (Conntrack(), Sockets()):
        try:
            found = source.open_now()
        except Fatal:
            continue
        for one in found:
            end = one.protocol, one.source, one.source_port
            if end not in seen:
                yield one
        seen |= {(one.protocol, one.source, one.source_port) for one in found}


def _arrived(found: "Iterable[Connection]", where: "Mapping[Address, str]") -> "Iterator[Session]":
    for one in found:
        interface = where.get(one.destination)
        if interface and one.source not in where:
            yield Session(one, interface)
