"""A Matrix as one page for a browser, which asks nobody for anything.

Laws:
1. Names from outside reach the page as JSON alone, and its script writes them as text: none of them
   is ever markup.
2. The page's own policy allows its one script and its one style, by their digests, and no request.
"""

import json
import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from droplan_daemon.model.addresses import format_address
from droplan_daemon.policy.crowd import members
from droplan_daemon.policy.openings import labels

if TYPE_CHECKING:
    from droplan_daemon.model.fleet import Droplet
    from droplan_daemon.policy.matrix import Group, Matrix

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def page(found: "Matrix") -> str:
    """The whole page."""
    template = files(__package__).joinpath("matrix_page.html").read_text(encoding="utf-8")
    digests = {"@SCRIPT@": _digest(_SCRIPT, template), "@STYLE@": _digest(_STYLE, template)}
    for place, text in {**digests, "@DATA@": _embedded(_plain(found))}.items():
        template = template.replace(place, text)
    return template


def _digest(part: "re.Pattern[str]", template: str) -> str:
    """As a Content-Security-Policy names an inline part (CSP level 3, hash-source)."""
    (text,) = part.findall(template)
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _embedded(value: Any) -> str:
    """JSON that ends no script element, whatever is in it."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _plain(found: "Matrix") -> dict[str, Any]:
    """Each row as [ports, senders by index] for each target."""
    return {
        "groups": [_group(group) for group in found.groups],
        "outside": list(found.outside),
        "lanes": {
            lane.value: [[[labels(ports), list(members(who))] for ports, who in row.items()] for row in rows]
            for lane, rows in found.rows.items()
        },
    }


def _group(group: "Group") -> dict[str, Any]:
    return {
        "name": group.name,
        "droplets": [_droplet(one) for one in group.droplets],
        "mode": group.mode.value,
        "private": group.private.value,
        "public": group.public.value,
    }


def _droplet(one: "Droplet") -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "tags": list(one.tags),
        "region": one.region,
        "private": [format_address(address) for address in one.private],
        "public": [format_address(address) for address in one.public],
    }
