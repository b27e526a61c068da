"""A process that puts a pause of SECONDS into the kernel, tells when (monotonic), and waits to be killed.

A second word is a variant of iptables, which then holds it.
"""

import signal
import sys
import time

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.backends.nft import NftBackend
from droplan_daemon.cli.holding import hold
from droplan_daemon.policy.lease import PAUSE, audited

if __name__ == "__main__":
    hold(
        IptablesBackend(sys.argv[2]) if sys.argv[2:] else NftBackend(),
        lambda base: audited(base) if base else sys.exit("nothing to pause"),
        PAUSE,
        float(sys.argv[1]),
    )
    sys.stdout.write(f"{time.monotonic()}\n")
    sys.stdout.flush()
    signal.pause()
