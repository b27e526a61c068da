"""droplan keeps a Droplet's firewall in step with its fleet.

Theory of operation. A cycle gathers one complete snapshot of the fleet, compiles the
operator's policy into the Ruleset that this Host should have, observes the Ruleset that the
kernel does have, and commits the difference as one netlink transaction that is conditional
on what was observed; then it looks again, and only a match counts as success. Cycles are
level-triggered: a timer, a signal or a change of a file says "look again" and nothing else,
so a cycle that failed loses nothing. Doubt never removes a peer. When the process ends the
rules stay.
"""

__version__ = "0.1.0"
