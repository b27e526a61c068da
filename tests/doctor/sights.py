"""Facts of a Droplet on which all is well, to be changed in one place."""

from dataclasses import replace
from typing import Any

from droplan_daemon.doctor.facts import (
    Api,
    Backend,
    Clock,
    Configuration,
    Daemon,
    Facts,
    Firewalls,
    Kernel,
    Node,
    Place,
    Saved,
    State,
    Unit,
)
from droplan_daemon.doctor.finding import Finding
from droplan_daemon.doctor.findings import findings
from droplan_daemon.model.budget import Budget

BUDGET = Budget(5000, 4990, 0.0, 4)
CONFIGURATION = Configuration("/etc/droplan/droplan.toml", token_node=Node("/etc/droplan/token", 0, 0o600))
CLOCK = Clock(1_795_000_000.0, 0.2, synchronised=True)
KERNEL = Kernel(tracked=10, room=1000, tcp_loose=False, rp_filter={"eth1": 2}, ipv6=True, enforced=True)
STATE = State(Node("/var/lib/droplan", 61999, 0o700), saved=True, age=60.0)
UNITS = (
    Unit("droplan.service", "loaded", "enabled", "active"),
    Unit("droplan-restore.service", "loaded", "enabled", "inactive"),
)
DAEMON = Daemon(alive=True, well=True, version="1.0")
API = Api("https://api.example", budget=BUDGET, interval=30.0, period=10.0, sharing=3, took=0.2)
PLACE = Place("web-1 (id 2)", "private eth1, public eth0, known by metadata", 3, 5)

WELL = Facts(
    version="1.0",
    configuration=CONFIGURATION,
    clock=CLOCK,
    firewalls=Firewalls(),
    kernel=KERNEL,
    state=STATE,
    units=UNITS,
    daemon=DAEMON,
    backend=Backend("nftables, as configured"),
    old=(),
    links=("eth1",),
    api=API,
    place=PLACE,
    saved=Saved(),
)


def told(**changed: Any) -> tuple[Finding, ...]:
    """The findings about that Droplet with some of its Facts replaced."""
    return findings(replace(WELL, **changed))
