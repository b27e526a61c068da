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
            happens=(
                "droplan only ever asks with GET, and needs `droplet:read`, `tag:read`, `vpc:read` and "
                "`vpc_peering:read`: a token with these cannot change anything."
            ),
            shows="nothing",
        ),
        Fault(
            "J5",
            fault="The token in an argument list, the environment, a log, a traceback, a core, a status",
            happens=(
                "Never. It stands in its file or credential and in one request header; outputs and logs "
                "hide what looks like a token, and a death leaves no core."
            ),
            shows="nothing",
        ),
        Fault(
            "J6",
            fault="The address of a destroyed Droplet is given to a stranger while the API is down",
            happens=(
                "Nobody is removed without evidence; `[peers] max_stale` is the operator's choice, and "
                "alarms say how old the knowledge is."
            ),
            shows="`stale.alarm level=10m`, `1h`, `1d`; `peers.expired`",
        ),
        Fault(
            "J8",
            fault="A forged source on the private network",
            happens=(
                "A peer's address counts on the interface where it belongs; from any other interface it "
                "is a stranger's. Who is on the same private network can forge a source there: the VPC is "
                "what keeps him from it, and `droplan doctor` says where `rp_filter` is off."
            ),
            shows="counted and logged as denied",
        ),
        Fault(
            "J9",
            fault="A dependency is swapped on its index",
            happens="The installation stops: every file has its hash.",
            shows="the error of pip",
        ),
    ),
)
