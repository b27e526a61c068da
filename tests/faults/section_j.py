"""Section J: adversary."""

from .catalogue import Fault, Section

SECTION = Section(
    "J",
    "Adversary",
    (
        "Section I (a relay between Droplets) is for when there is one. Nor is there anything of J2 "
        "and J3 in droplan before that."
    ),
    (
        Fault(
            "J4",
            fault="A stolen token",
            happens="A read-only token with the scopes that droplan needs cannot change anything.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "J5",
            fault="The token in an argument list, the environment, a log, a traceback, a core, a status",
            happens="Never.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "J6",
            fault="The address of a destroyed Droplet is given to a stranger while the API is down",
            happens=(
                "Nobody is removed without evidence; `[peers] max_stale` is the operator's choice, and "
                "alarms say how old the knowledge is."
            ),
            shows="`stale.alarm level=10m`, `1h`, `1d`",
            pending=True,
        ),
        Fault(
            "J8",
            fault="A forged source on the private network",
            happens="The interface counts beside the address: from any other interface it is refused.",
            shows="counted as denied",
            pending=True,
        ),
        Fault(
            "J9",
            fault="A dependency is swapped on its index",
            happens="The installation stops: every file has its hash.",
            shows="the error of pip",
            pending=True,
        ),
    ),
)
