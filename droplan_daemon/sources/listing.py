"""Pages of one listing, put together only when they add up. PURE.

Laws:
1. A Listing is complete: every page tells the same total, the entries are as many, and no
   key occurs twice. Pages run over a changing list, and a deletion between two reads makes a
   *live* entry slip past; one of these three then disagrees.
2. An addition and a deletion between two reads can cancel out in all three. So a listing of
   several pages in which somebody is gone is confirmed by a second reading (`vanished`).
3. More than 1 % odd entries (and more than one) is doubt about the whole.
"""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urljoin, urlsplit

from droplan_daemon.errors import SourceDoubtful

if TYPE_CHECKING:
    from collections.abc import Sequence

    from droplan_daemon.model.fleet import Skipped

    from .payloads import Key, Page

T = TypeVar("T")

TOLERATED = 0.01
"""The share of odd entries that is still believed."""

MOST_PAGES = 500
"""100,000 Droplets; a larger total is a lie or needs another way to read it."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """All values of one listing, those skipped, the known keys of all entries, pages read."""

    items: tuple[T, ...]
    skipped: "tuple[Skipped, ...]"
    keys: "frozenset[Key]"
    pages: int

    def vanished(self, known: "frozenset[Key]") -> "frozenset[Key]":
        """Who of `known` is gone and must be confirmed: one page is one instant, several are not."""
        return known - self.keys if self.pages > 1 else frozenset()


def assemble(pages: "Sequence[Page[T]]", word: str) -> Listing[T]:
    """The Listing that the pages make.

    Raises SourceDoubtful: `bad_body` (no total), `unstable` (worth another reading),
    `count_mismatch` (likewise), `many_skipped`.
    """
    totals = {page.total for page in pages}
    keys = [key for page in pages for key in page.keys]
    known = frozenset(key for key in keys if key is not None)
    _add_up(totals, keys, len(known), word)
    skipped = tuple(entry for page in pages for entry in page.skipped)
    if len(skipped) > max(1, TOLERATED * len(keys)):
        first = f"{skipped[0].id}: {skipped[0].reason}" if skipped[0].id else skipped[0].reason
        raise SourceDoubtful(
            f"{len(skipped)} of {len(keys)} {word} are malformed (the first: {first}); nothing was used.",
            reason="many_skipped",
        )
    return Listing(tuple(item for page in pages for item in page.items), skipped, known, len(pages))


def _add_up(totals: set[int | None], keys: "list[Key | None]", different: int, word: str) -> None:
    if None in totals:
        raise SourceDoubtful(f"The list of {word} does not say how many there are.", reason="bad_body")
    if len(totals) > 1:
        raise SourceDoubtful(f"The list of {word} changed while it was read.", reason="unstable")
    if totals != {len(keys)}:
        raise SourceDoubtful(
            f"The list of {word} holds {len(keys)} where its total says {max(t or 0 for t in totals)}.",
            reason="count_mismatch",
        )
    if different + keys.count(None) != len(keys):
        raise SourceDoubtful(f"The list of {word} names one of them twice.", reason="unstable")


def page_count(first: "Page[T]", per_page: int, word: str) -> int:
    """How many pages there are, by the first one; a server may serve smaller pages than asked for.

    Raises SourceDoubtful for more than MOST_PAGES (`too_many`) or an empty page of a longer list.
    """
    total, got = first.total or 0, len(first.keys)
    if total <= got:
        return 1
    if not got:
        raise SourceDoubtful(
            f"The list of {word} holds none where its total says {total}.", reason="count_mismatch"
        )
    count = ceil(total / min(got, per_page))
    if count > MOST_PAGES:
        raise SourceDoubtful(f"The list of {word} claims to have {count} pages.", reason="too_many")
    return count


def check_follows(first: "Page[T]", page: "Page[T]", word: str, *, last: bool) -> None:
    """Give up at once on pages that cannot add up. Raises SourceDoubtful(`unstable`, `count_mismatch`)."""
    if page.total != first.total:
        raise SourceDoubtful(f"The list of {word} changed while it was read.", reason="unstable")
    if not last and len(page.keys) != len(first.keys):
        raise SourceDoubtful(
            f"The list of {word} ends before the {first.total} that its total says.", reason="count_mismatch"
        )


def foreign(following: str | None, base: str) -> bool:
    """Whether a `next` link leads anywhere but to the server that was asked (nobody follows it)."""
    if following is None:
        return False
    try:
        return _origin(urljoin(base, following)) != _origin(base)
    except ValueError:
        return True


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
