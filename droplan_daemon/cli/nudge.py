"""Have the daemon look again now, whatever it waits for.

Laws:
1. A signal is sent only to what the status file names and is a droplan that runs.
2. It carries nothing: the daemon finds out by itself what there is to see. Nobody waits for it.
"""

import os
import signal
from typing import TYPE_CHECKING

from droplan_daemon.errors import DroplanError, NotPermitted

from .reloading import daemon

if TYPE_CHECKING:
    from droplan_daemon.checkpoint import StateFiles


def nudge(files: "StateFiles") -> bool:
    """Wake the daemon; False: none runs. Raises NotPermitted."""
    try:
        os.kill(daemon(files), signal.SIGUSR1)
    except PermissionError:
        raise NotPermitted("the daemon may not be signalled by this user; try again with sudo") from None
    except (DroplanError, ProcessLookupError):
        return False
    return True
