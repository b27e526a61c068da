"""Foreign JSON as values: bytes of one page in, `Page` out.

Laws:
1. Whatever the bytes are, the result is a Page or SourceDoubtful(reason="bad_json" or "bad_body").
2. One odd entry is named in `skipped` and costs nobody else; it never fails its page.
3. Only what a policy can ask about is kept, no pydantic model outlives its page, and equal
   texts of one poll and equal Droplets of two are one object (`Shared`).
4. An address is text of one plain address that a Droplet can have: nothing else is packed.

Shapes are strict (no `true` for 1, no `"1"` for 1) and name the keys that we use; others may
come and go. Source: schemas `droplet`, `vpc`, `vpc_peering`, `meta`, `page_links` of
https://docs.digitalocean.com/reference/api/.
"""

import json
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from droplan_daemon.errors import SourceDoubtful
from droplan_daemon.model.addresses import Family, parse_address, unusable
from droplan_daemon.model.fleet import Droplet, InterfaceKind, Peering, Skipped, Vpc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from droplan_daemon.model.addresses import Address

T = TypeVar("T")

Key = int | str
"""What identifies an entry of a listing: a Droplet's id, a VPC's or a peering's UUID."""

_WIDEST = 2**63 - 1
_Id = Annotated[int, Field(gt=0, le=_WIDEST)]
_Text = Annotated[str, Field(min_length=1, max_length=255)]
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_PRINTABLE = "is not printable text"


class Shared:
    """What is equal, kept once: 10,000 Droplets carry few regions, VPCs and tags.

    `before` are the Droplets of the poll before: those that did not change are the same objects
    again, so that two Fleets take hardly more memory than one (4 MB, of 10,000).
    """

    __slots__ = ("_before", "_tags", "_texts")

    def __init__(self, before: "Iterable[Droplet]" = ()) -> None:
        self._texts: dict[str, str] = {}
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._before = {droplet.id: droplet for droplet in before}

    def droplet(self, droplet: Droplet) -> Droplet:
        """The one of the poll before, if it is equal."""
        before = self._before.get(droplet.id)
        return before if before == droplet else droplet

    def text(self, text: str) -> str:
        """The one object that stands for this text."""
        return self._texts.setdefault(text, text)

    def tags(self, raw: "list[str]") -> tuple[str, ...]:
        """Tags in canonical (lower) case, sorted, each once. ValueError for unprintable ones."""
        spelled = tuple(raw)
        tags = self._tags.get(spelled)
        if tags is None:
            if not all(map(str.isprintable, spelled)):
                raise ValueError(f"tags: {_PRINTABLE}")
            tags = self._tags[spelled] = tuple(sorted({self.text(tag.lower()) for tag in spelled}))
        return tags


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class _Entry(_Shape):
    """One entry of a listing; `key` is known even where `value` fails."""

    id: Any

    def value(self, shared: Shared) -> object:
        """The noun, or None for an entry that counts but means nothing to us. Raises ValueError."""
        raise NotImplementedError


class _Network(_Shape):
    ip_address: Annotated[str, Field(max_length=64)]
    type: str


class _Networks(_Shape):
    v4: list[_Network] | None = None
    v6: list[_Network] | None = None


class _Region(_Shape):
    slug: Annotated[str, Field(max_length=255)]


class _Droplet(_Entry):
    id: _Id
    name: _Text
    # Required: an answer in which nobody has networks would take every peer away.
    networks: _Networks
    region: _Region | None = None
    tags: list[_Text] | None = None
    vpc_uuid: Annotated[str, Field(max_length=255)] | None = None

    def value(self, shared: Shared) -> Droplet:
        if not self.name.isprintable():
            raise ValueError(f"name: {_PRINTABLE}")
        v4, v6 = self.networks.v4 or (), self.networks.v6 or ()
        public, private = InterfaceKind.PUBLIC, InterfaceKind.PRIVATE
        return shared.droplet(
            Droplet(
                self.id,
                self.name,
                shared.tags(self.tags or []),
                shared.text(self.region.slug) if self.region else "",
                shared.text(self.vpc_uuid.lower()) if self.vpc_uuid else None,
                _packed(v4, private, Family.IPV4),
                _packed(v4, public, Family.IPV4) + _packed(v6, public, Family.IPV6),
            )
        )


class _Vpc(_Entry):
    id: _Text
    name: _Text
    region: _Text
    ip_range: Annotated[str, Field(max_length=64)]

    def value(self, shared: Shared) -> Vpc:
        return Vpc(
            shared.text(self.id.lower()),
            self.name,
            shared.text(self.region),
            str(_private_network(self.ip_range)),
        )


class _Peering(_Entry):
    id: _Text
    status: str
    vpc_ids: Annotated[list[_Text], Field(min_length=2, max_length=2)]

    def value(self, shared: Shared) -> Peering | None:
        ends = frozenset(shared.text(vpc.lower()) for vpc in self.vpc_ids)
        return Peering(ends) if self.status == "ACTIVE" else None


class _Meta(_Shape):
    total: Annotated[int, Field(ge=0, le=_WIDEST)]


class _Neighbours(_Shape):
    next: str | None = None


class _Links(_Shape):
    pages: _Neighbours | None = None


class _Page(_Shape):
    meta: _Meta | None = None
    links: _Links | None = None
    # The subclasses' alias is the name of the listing.
    entries: list[Any]


class _DropletPage(_Page):
    entries: list[_Droplet] = Field(alias="droplets")


class _VpcPage(_Page):
    entries: list[_Vpc] = Field(alias="vpcs")


class _PeeringPage(_Page):
    entries: list[_Peering] = Field(alias="vpc_peerings")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One sort of listing: the key of its entries in the JSON, and keys that an entry has at most once."""

    word: str
    shape: type[_Page] = field(repr=False)
    once: tuple[bytes, ...] = ()


DROPLETS: Kind[Droplet] = Kind("droplets", _DropletPage, (b'"networks"', b'"vpc_uuid"', b'"v4"', b'"v6"'))
VPCS: Kind[Vpc] = Kind("vpcs", _VpcPage, (b'"ip_range"',))
PEERINGS: Kind[Peering] = Kind("vpc_peerings", _PeeringPage, (b'"vpc_ids"', b'"status"'))


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page: its values, the keys of *all* its entries (None: unknown), those skipped.

    `total` is `meta.total`, `following` is `links.pages.next`, both None where absent.
    """

    items: tuple[T, ...]
    keys: tuple[Key | None, ...]
    skipped: tuple[Skipped, ...] = ()
    total: int | None = None
    following: str | None = None


def read_page(body: bytes, kind: Kind[T], shared: Shared) -> Page[T]:
    """One page of a listing. Raises SourceDoubtful: `bad_json`, or `bad_body` for the wrong shape."""
    shape, skipped, keys = _shaped(body, kind)
    items: list[T] = []
    for entry in shape.entries:
        keys.append(entry.id)
        try:
            value = entry.value(shared)
        except ValueError as error:
            skipped.append(Skipped(_droplet_id(entry.id), str(error), kind.word))
        else:
            if value is not None:
                items.append(value)
    total = shape.meta.total if shape.meta else None
    following = shape.links.pages.next if shape.links and shape.links.pages else None
    return Page(tuple(items), tuple(keys), tuple(skipped), total, following)


def _shaped(body: bytes, kind: Kind[T]) -> tuple[_Page, list[Skipped], list[Key | None]]:
    """The page without its misshapen entries, and those by reason and key."""
    try:
        shape = kind.shape.model_validate_json(body)
    except ValidationError as error:
        page = strict_json(body)
        kept, skipped, keys = _without(page, kind.word, _entry_errors(error, kind))
        # Shaped anew: pydantic gives nothing of a page in which one entry is odd.
        return kind.shape.model_validate_json(json.dumps(kept)), skipped, keys
    if _suspect(body, kind, len(shape.entries)):
        strict_json(body)
    return shape, [], []


def _entry_errors(error: ValidationError, kind: Kind[Any]) -> dict[int, str]:
    """The first mistake of each odd entry; SourceDoubtful when the page itself is odd."""
    reasons: dict[int, str] = {}
    for mistake in error.errors(include_url=False, include_context=False, include_input=False):
        match mistake["loc"]:
            case (kind.word, int(index), *inner):
                reasons.setdefault(index, f"{'.'.join(map(str, inner)) or 'entry'}: {mistake['type']}")
            case where:
                place = ".".join(map(str, where)) or "the whole"
                reason = "bad_json" if mistake["type"] == "json_invalid" else "bad_body"
                raise _bad(f"has the wrong shape at {place} ({mistake['type']})", reason) from None
    return reasons


def _without(
    page: dict[str, Any], word: str, reasons: dict[int, str]
) -> tuple[dict[str, Any], list[Skipped], list[Key | None]]:
    entries = page[word]
    ids = {index: _key(entries[index]) for index in reasons}
    kept = {**page, word: [entry for index, entry in enumerate(entries) if index not in reasons]}
    skipped = [Skipped(_droplet_id(ids[index]), reason, word) for index, reason in sorted(reasons.items())]
    return kept, skipped, list(ids.values())


def _key(entry: object) -> Key | None:
    key = entry.get("id") if isinstance(entry, dict) else None
    return key if type(key) in {int, str} else None


def _droplet_id(key: object) -> int | None:
    return key if type(key) is int and 0 < key <= _WIDEST else None


def _packed(networks: "Iterable[_Network]", kind: InterfaceKind, family: Family) -> "tuple[Address, ...]":
    return tuple(dict.fromkeys(_usable(n.ip_address, family) for n in networks if n.type == kind))


def _usable(text: str, family: Family) -> "Address":
    address = parse_address(text, family)
    reason = unusable(address)
    if reason:
        raise ValueError(f"{text} cannot be a Droplet's address ({reason})")
    return address


def _private_network(text: str) -> IPv4Network:
    """The range of a VPC: the selector `vpc` lets all of it in, so it is never the Internet."""
    net = IPv4Network(text, strict=False)
    if not any(net.subnet_of(private) for private in _PRIVATE):
        raise ValueError(f"{net} cannot be a VPC's range: it is not in RFC 1918's private networks")
    return net


def _suspect(body: bytes, kind: Kind[Any], entries: int) -> bool:
    """Whether the bytes may hold what the fast parser lets pass: repeated keys, NaN.

    A cheap question (0.5 ms a page), so that only odd pages pay for `strict_json`. A key spelled
    with an escape would go uncounted, hence the backslash.
    """
    return (
        any(odd in body for odd in (b"NaN", b"Infinity", b"\\u"))
        or any(body.count(key) > 1 for key in (b'"%b"' % kind.word.encode(), b'"meta"', b'"total"'))
        or any(body.count(key) > entries for key in kind.once)
    )


def strict_json(body: bytes) -> Any:
    """JSON in which no key is repeated and every number is one; else SourceDoubtful, with the place."""
    try:
        return json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise _bad("is nested too deeply", "bad_json") from None
    except ValueError as error:
        raise _bad(f"is not proper JSON ({_where(error)})", "bad_json") from error


def _where(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}"
    return "not UTF-8" if isinstance(error, UnicodeError) else "a repeated key or an impossible number"


def _unique(pairs: "list[tuple[str, Any]]") -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("repeated key")
    return unique


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _bad(what: str, reason: str = "bad_body") -> SourceDoubtful:
    return SourceDoubtful(f"The listing {what}; nothing of it was used.", reason=reason)
