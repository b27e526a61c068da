"""How long a lease runs, as the bytes of set elements. PURE.

Laws:
1. A lease runs while its set holds an element: the kernel takes it out by its own clock, whoever lives.
2. Both IP versions are armed by one message, and so end at one moment. An element that droplan would
   never write, such as one without an end, raises ForeignElementError, as for other sets.

Source: linux/netfilter/nf_tables.h, linux/netfilter.h.
"""

from .nft_wire import ForeignElementError, attribute, attributes, element_list, number_attribute, number_of

_NESTED = 0x8000
_LIST_ELEM, _ELEMENTS = 1, 3  # NFTA_LIST_ELEM, NFTA_SET_ELEM_LIST_ELEMENTS
_KEY, _TIMEOUT, _EXPIRATION = 1, 4, 5  # NFTA_SET_ELEM_*
_BEYOND = frozenset({2, 3, 7, 9, 10, 11})  # DATA, FLAGS, EXPR, OBJREF, KEY_END, EXPRESSIONS
_VALUE = 1  # NFTA_DATA_VALUE
_VERSIONS = b"\x02", b"\x0a"  # NFPROTO_IPV4, NFPROTO_IPV6
_MILLISECONDS = 1000


def arming(table: str, lease: str, seconds: float) -> bytes:
    """The payload of the message that has an empty lease run for so long."""
    lasting = number_attribute(_TIMEOUT, max(1, round(seconds * _MILLISECONDS)), 8)
    packed = b"".join(attribute(_LIST_ELEM | _NESTED, _key(one) + lasting) for one in _VERSIONS)
    return element_list(table, lease) + attribute(_ELEMENTS | _NESTED, packed)


def _key(version: bytes) -> bytes:
    return attribute(_KEY | _NESTED, attribute(_VALUE, version))


def left(packed: bytes) -> float | None:
    """Seconds until a lease with these elements runs out; None: it has. Raises ForeignElementError."""
    return min((_left(body) for _, body in attributes(packed)), default=None)


def _left(body: bytes) -> float:
    fields = dict(attributes(body))
    key = dict(attributes(fields.get(_KEY, b""))).get(_VALUE, b"")
    if key not in _VERSIONS or not {_TIMEOUT, _EXPIRATION} <= fields.keys() or fields.keys() & _BEYOND:
        raise ForeignElementError("an element of a lease that droplan never writes")
    return number_of(fields[_EXPIRATION]) / _MILLISECONDS
