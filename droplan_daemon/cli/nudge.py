"""Have the daemon look again now, whatever it waits for.

Laws:
1. A signal is sent only to what the status file names and is a droplan that runs.
2. It carries nothing: the daemon finds out by itself what there is to see. Nobody waits for it.
"""

import os
import signal
from typing import TYPE_CHECKING

from droplan_daemon.errors import DroplanError, NotPermitted, Refusal

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


def refuse_beside_a_daemon(files: "StateFiles") -> None:
    """For what a daemon that runs would undo at once. Raises Refusal."""
    try:
        pid = daemon(files)
    except DroplanError:
        return
    message = f"the daemon runs (pid {pid}) and would put the rules back at once; first stop it: "
    raise Refusal(f"{message}systemctl disable --now droplan", reason="daemon_runs")
