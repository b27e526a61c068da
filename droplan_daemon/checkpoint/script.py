"""The boot script: a ruleset as text that boot can load without Python, under a header. PURE.

Laws:
1. The header says what wrote it, for which Droplet and interfaces, and the digest of all that follows
   its second line; so a shell can check it with `tail -n +3 | sha256sum`.
2. `parse(render(c, body))` is what was rendered, or StoreFailed with a reason; never anything else.
3. The body is what the backend renders; nothing here knows its language.

    # droplan ruleset 1
    # sha256 <hex digest of every byte after this line>
    # number <n>
    # droplet <id>
    # link <interface> <mac>        (one for each managed interface)
    # saved <UTC, 2026-11-22T02:40:00Z>
"""

import hashlib
import re
from dataclasses import dataclass
from time import gmtime, strftime
from typing import TYPE_CHECKING

from droplan_daemon.errors import StoreFailed

if TYPE_CHECKING:
    from droplan_daemon.model.checkpoint import Checkpoint

VERSION = 1
_TITLE = re.compile(rb"# droplan ruleset (\d{1,9})\n# sha256 ([0-9a-f]{64})\n")
_FACTS = re.compile(
    r"# number (\d{1,18})\n# droplet (\d{1,19})\n((?:# link \S{1,15} \S{1,64}\n)*)# saved (\S{1,40})\n",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Script:
    """A boot script that verified: whose it is, and what is to be loaded."""

    number: int
    droplet_id: int
    links: tuple[tuple[str, str], ...]
    saved: str
    body: str


def render(checkpoint: "Checkpoint", body: str) -> bytes:
    """The file: header, then what the backend loads."""
    links = "".join(f"# link {name} {mac}\n" for name, mac in checkpoint.links)
    saved = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(checkpoint.saved_at))
    facts = f"# number {checkpoint.number}\n# droplet {checkpoint.host.droplet_id}\n{links}# saved {saved}\n"
    rest = f"{facts}{body}".encode()
    return b"# droplan ruleset %d\n# sha256 %b\n%b" % (VERSION, _digest(rest), rest)


def parse(data: bytes) -> Script:
    """The script of a file. Raises StoreFailed(`damaged`, `version`, `checksum`, `shape`)."""
    title = _TITLE.match(data)
    if not title:
        raise StoreFailed("the boot script is damaged: it has no droplan header", reason="damaged")
    if int(title[1]) != VERSION:
        message = f"the boot script has version {int(title[1])}, and this droplan reads {VERSION}"
        raise StoreFailed(message, reason="version")
    rest = data[title.end() :]
    if _digest(rest) != title[2]:
        raise StoreFailed("the boot script is damaged: its checksum is wrong", reason="checksum")
    try:
        text = rest.decode()
    except UnicodeDecodeError:
        text = ""
    facts = _FACTS.match(text)
    if not facts:
        raise StoreFailed("the boot script has an unknown header", reason="shape")
    links = tuple((line.split()[2], line.split()[3]) for line in facts[3].splitlines())
    return Script(int(facts[1]), int(facts[2]), links, facts[4], text[facts.end() :])


def _digest(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest().encode()
