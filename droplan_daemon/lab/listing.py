"""One page of a collection, with the links and the total that go with it.

Laws:
1. A page number runs over the collection as it is now; nothing is remembered between pages.
2. `links.pages` is there only when there is more than one page.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .messages import Json, Request, Response
from .problems import unprocessable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    Item = TypeVar("Item")

DEFAULT_PER_PAGE = 20
MAX_PER_PAGE = 200
_NUMBER = re.compile("[0-9]{1,9}")


def page_of(
    request: Request, key: str, items: "Sequence[Item]", render: "Callable[[Item], Json]"
) -> Response:
    """The page that the request asks for; 422 for one that cannot be."""
    per_page = _number(request, "per_page", DEFAULT_PER_PAGE)
    page = _number(request, "page", 1)
    if not 1 <= per_page <= MAX_PER_PAGE:
        return unprocessable(f"per_page must be between 1 and {MAX_PER_PAGE}.")
    if page < 1:
        return unprocessable("page must be 1 or more.")
    first = (page - 1) * per_page
    last_page = max(1, -(-len(items) // per_page))
    body = {
        key: [render(item) for item in items[first : first + per_page]],
        "links": _links(request, page, last_page),
        "meta": {"total": len(items)},
    }
    return Response(200, body)


def _number(request: Request, name: str, default: int) -> int:
    """A parameter as a number; 0 for what is none, which no parameter may be."""
    text = request.query.get(name, str(default))
    return int(text) if _NUMBER.fullmatch(text) else 0


def _links(request: Request, page: int, last: int) -> Json:
    if last == 1:
        return {}
    numbers = {}
    if page > 1:
        numbers = {"first": 1, "prev": min(page - 1, last)}
    if page < last:
        numbers |= {"next": page + 1, "last": last}
    return {"pages": {name: _link(request, number) for name, number in numbers.items()}}


def _link(request: Request, page: int) -> str:
    return f"{request.base}{request.path}?{urlencode({**request.query, 'page': page})}"
