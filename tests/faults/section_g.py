"""Section G: process and systemd."""

from .catalogue import Fault, Section

SECTION = Section(
    "G",
    "Process and systemd",
    "",
    (
        Fault(
            "G1",
            fault="Killed at any moment of a commit",
            happens="The kernel has the old rules or the new ones; the next start adopts them without a gap.",
            shows="ready within 3 s",
            pending=True,
        ),
        Fault(
            "G2",
            fault="SIGTERM",
            happens="The commit ends or is given up, exit 0 within 2 s; the rules stay.",
            shows="`daemon.stopped rules=kept`",
            pending=True,
        ),
        Fault(
            "G3",
            fault="The loop hangs",
            happens="The watchdog, which only the loop feeds, has it killed and started again.",
            shows="`Failed with result 'watchdog'`",
            pending=True,
        ),
        Fault(
            "G4",
            fault="It crashes again and again",
            happens="systemd goes on starting it, less and less often.",
            shows="still restarting after an hour",
            pending=True,
        ),
        Fault(
            "G6",
            fault="An upgrade or a restart under traffic",
            happens="No packet of a standing peer is lost.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "G7",
            fault="Out of memory",
            happens="It dies and is started again; the rules stay.",
            shows="as G1",
            pending=True,
        ),
        Fault(
            "G9",
            fault="No notification socket, or a dead journal",
            happens="Never fatal.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "G10",
            fault="Ready before the rules are in the kernel",
            happens="Never: ready means that they were read back.",
            shows="the order of events",
            pending=True,
        ),
        Fault(
            "G11",
            fault="The restore at boot fails",
            happens="A baseline is loaded before the network: everything closed but the lifelines.",
            shows="`droplan-restore` fails, its baseline loads",
            pending=True,
        ),
        Fault(
            "G12",
            fault="A task of the daemon dies, or is cancelled",
            happens=(
                "It is started again, three times; then the process ends with its error. Never half alive."
            ),
            shows="`task.failed name=…`",
        ),
    ),
)
