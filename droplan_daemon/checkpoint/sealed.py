"""A state file: one JSON document, with its version and a checksum over what is in it. PURE.

Laws:
1. What is unsealed is what was sealed, byte by byte, or StoreFailed; nothing is parsed before its
   checksum is right.
2. A file of another version is said to be that, and nothing else of it is looked at.
"""

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPENING = re.compile(rb'\{"version":(\d{1,9}),"sha256":"([0-9a-f]{64})","body":')
_CLOSING = b"}\n"


def seal(version: int, body: "Mapping[str, Any]") -> bytes:
    """A state file with this body."""
    return seal_json(version, to_json(body))


def unseal(data: bytes, version: int) -> Any:
    """The body of a state file of this version. Raises StoreFailed, with no errno."""
    body = unseal_json(data, version)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise StoreFailed("the state file is damaged", reason="shape") from None


def seal_json(version: int, body: bytes) -> bytes:
    """The same for a body that is JSON already."""
    return b'{"version":%d,"sha256":"%b","body":%b%b' % (version, _checksum(version, body), body, _CLOSING)


def unseal_json(data: bytes, version: int) -> bytes:
    """The body as JSON. Raises StoreFailed(`damaged`, `version`, `checksum`)."""
    opening = _OPENING.match(data)
    if not opening or not data.endswith(_CLOSING):
        raise StoreFailed("the state file is damaged", reason="damaged")
    found = int(opening[1])
    if found != version:
        newer = (
            "a newer droplan wrote the state file" if found > version else "the state file is an older one"
        )
        raise StoreFailed(f"{newer} (version {found}, this droplan reads {version})", reason="version")
    body = data[opening.end() : -len(_CLOSING)]
    if opening[2] != _checksum(version, body):
        raise StoreFailed("the state file is damaged: its checksum is wrong", reason="checksum")
    return body


def to_json(value: "Mapping[str, Any]") -> bytes:
    """Compact JSON; values of ours become text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def _checksum(version: int, body: bytes) -> bytes:
    digest = hashlib.sha256(b"%d:" % version)
    digest.update(body)
    return digest.hexdigest().encode()
