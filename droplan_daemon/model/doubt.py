"""What an answer says and is not believed yet, and how often it was said.

Laws:
1. A Doubt is about a group of elements that were enforced: a set of addresses by its name, or one of
   FLEET (Droplets by id) and SELF (what this Droplet is).
2. Absences say what is held, and in how many complete answers in a row it was missing (0: it was
   missing only where the answer was not whole). Nothing that is not held is in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

FLEET = "fleet"
"""The group of all Droplets but our own; its elements are ids, 8 bytes in network order."""

SELF = "self"
"""The group of what this Droplet is; its elements are words such as `region nyc3`, as bytes."""

AGREEING = 3
"""Complete answers in a row that must lack something before that is believed."""


class Cause(StrEnum):
    """Why something is held: too much is gone at once; we are another; an entry could not be read."""

    SHRINK = "shrink"
    IDENTITY = "identity"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Doubt:
    """In `group` `held` elements stay, of the `of` that were enforced; `polls` answers in a row lack them."""

    cause: Cause
    group: str
    held: int
    of: int
    polls: int


@dataclass(frozen=True, slots=True)
class Absences:
    """What is held by group, each element with the number of complete answers in a row that lack it."""

    groups: Mapping[str, Mapping[bytes, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.groups)

    @property
    def anew(self) -> "Absences":
        """The same held, and no answer counted yet."""
        return Absences({group: dict.fromkeys(found, 0) for group, found in self.groups.items()})

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits for what is held, however often it was missed; empty: nothing is."""
        if not self.groups:
            return ""
        found = sha256()
        for group in sorted(self.groups):
            found.update(b"%d:%b" % (len(group), group.encode()))
            for element in sorted(self.groups[group]):
                found.update(b"%d:%b" % (len(element), element))
        return found.hexdigest()[:16]
