r"""Foreign text made fit for a line that a person reads.

Laws: pure, standard library only. What comes out of `escape` has no control, formatting or
surrogate character, so nothing from outside can move a cursor, forge a line or hide in one.
What comes out of `mask` has nothing in it that looks like a DigitalOcean token.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"

# `dop_v1_`, `doo_v1_`, `dor_v1_` and 64 hex digits: personal, OAuth and refresh tokens.
# Source: https://docs.digitalocean.com/reference/api/create-personal-access-token/
_TOKEN = re.compile(r"do[a-z]_v1_\w*", re.ASCII)

# A run that no name, path or UUID has, but a key of whatever maker does.
_KEY = re.compile(r"\w{32,}", re.ASCII)


def escape(text: str, keep: str = "") -> str:
    r"""Text with every unprintable character as `\n`, `\x1b`, `\u202e`; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def cut(text: str, limit: int = 200) -> str:
    """At most `limit` characters, an ellipsis for what is missing."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def mask(text: str, *, doubtful: bool = False) -> str:
    """Text without tokens; `doubtful`: without anything that might be some other maker's key."""
    text = _TOKEN.sub(MASK, text)
    return _KEY.sub(MASK, text) if doubtful else text


def nearest(word: str, known: "Iterable[str]") -> str:
    """The known word that is most like this one; empty when none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - for a mistake alone: 0.3 MB

    return next(iter(get_close_matches(word, list(known), 1)), "")
