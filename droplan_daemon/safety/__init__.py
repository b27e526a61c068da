"""What must hold before a Plan may be carried out. PURE.

`evidence`: which answers are evidence at all. `weighing`: what of a loss is believed, and when. `guard`:
both of them over Rulesets and Fleets, so that a removal needs evidence and an addition does not. `stale`:
what is enforced when nobody has answered for longer than the operator wants.
"""

from .evidence import Evidence, examine, unread
from .guard import Believed, Enforced, believe, with_newer
from .stale import overdue, without_droplets

__all__ = [
    "Believed",
    "Enforced",
    "Evidence",
    "believe",
    "examine",
    "overdue",
    "unread",
    "with_newer",
    "without_droplets",
]
