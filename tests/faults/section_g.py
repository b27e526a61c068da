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
            happens=(
                "The kernel has the old rules or the new ones. systemd starts it again after a second; it "
                "adopts what stands, and no peer loses a packet."
            ),
            shows="ready again within 3 s; `daemon.started`, `daemon.ready`",
        ),
        Fault(
            "G2",
            fault="SIGTERM: `systemctl stop`, a restart, a shutdown",
            happens="It ends at once, whatever it waits for, with exit code 0; the rules stay.",
            shows="`daemon.stopped rules=kept`",
        ),
        Fault(
            "G3",
            fault="The loop hangs, or the whole process stands still",
            happens=(
                "The watchdog, which only the loop feeds, ends it after `WatchdogSec=` (2 minutes), and it "
                "is started again within 3 s more; the rules stand meanwhile."
            ),
            shows="`Failed with result 'watchdog'` by systemd",
        ),
        Fault(
            "G4",
            fault="It crashes again and again",
            happens=(
                "systemd goes on starting it, for ever: each second, and with the package on Debian 13 "
                "less and less often, down to every 30 s."
            ),
            shows="`Scheduled restart job` by systemd; `systemctl show -p NRestarts droplan`",
            untestable=(
                "An hour of crashes is not waited for: eight in a row, which is beyond systemd's own limit, "
                "are; how delays grow is systemd's affair, and the words in the unit are tested."
            ),
        ),
        Fault(
            "G6",
            fault="An upgrade, a downgrade or a restart under traffic",
            happens="The next process adopts what stands: no packet of a standing peer is lost.",
            shows="`daemon.stopped rules=kept`, `daemon.started`, `daemon.ready`",
        ),
        Fault(
            "G7",
            fault="Out of memory",
            happens=(
                "What cannot start is started again; what runs keeps the rules of those it knew, says so and "
                "tries again. The rules stand in any case."
            ),
            shows="`cycle.crashed` with `MemoryError`, or exit 1 and a restart by systemd",
            untestable="By the limit of the address space; the kernel's own OOM killer kills as G1 does.",
        ),
        Fault(
            "G9",
            fault="No notification socket, one that is full or gone, or a dead journal",
            happens="Never fatal, never waited for; it is heard again as soon as somebody listens.",
            shows="nothing",
        ),
        Fault(
            "G10",
            fault="Ready before the rules are in the kernel",
            happens="Never: ready is told after the rules were read back and are what they should be.",
            shows="`systemctl start droplan` returns when they stand",
        ),
        Fault(
            "G11",
            fault="The restore at boot fails: its files, or the unit itself",
            happens=(
                "Before the network is up the private interface is closed to everybody but replies, by a "
                "ruleset that needs no file of state; the daemon opens it to the peers once it knows them."
            ),
            shows="`boot.closed`, and `droplan-restore.service` failed where the unit itself did",
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
