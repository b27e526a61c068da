"""A machine where the old droplan runs: its files, as the tutorial and its README have people make them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KEY = "dop_v1_" + "0ddba11a" * 8
CRON = (
    "*/5 * * * * root PATH=/sbin:/usr/bin:/bin DO_KEY={key} {more}"
    "/opt/droplan/refresh.sh > /var/log/droplan.log 2>&1\n"
)
SCRIPT = """\
#!/usr/bin/env bash

/opt/droplan/droplan

# Uncomment for Centos:
# service iptables save

# Uncomment for Debian or Ubuntu:
iptables-save > /etc/iptables/rules.v4
"""


def put(root: "Path", name: str, text: str, mode: int = 0o644) -> "Path":
    """A file of the machine below `root`."""
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def tutorial(root: "Path", key: str = KEY, more: str = "") -> None:
    """What the tutorial has one make."""
    put(root, "/etc/cron.d/droplan", CRON.format(key=key, more=more))
    put(root, "/opt/droplan/refresh.sh", SCRIPT, 0o755)
