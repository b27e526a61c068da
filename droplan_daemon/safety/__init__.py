"""What must hold before a Plan may be carried out. PURE.

`evidence`: which answers are evidence at all. `weighing`: what of a loss is believed, and when. `guard`:
both of them over Rulesets and Fleets, so that a removal needs evidence and an addition does not.
"""

from .evidence import Evidence, examine, unread
from .guard import Believed, Enforced, believe

__all__ = ["Believed", "Enforced", "Evidence", "believe", "examine", "unread"]
