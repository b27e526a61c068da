"""The programs of iptables: one family, one variant, one answer.

Laws:
1. Every run ends: the wait for the lock of iptables is bounded, and so is the whole.
2. What went wrong is told by exit code, by our own rights and by the lock, never by the text; the
   text is only repeated to people, cut and escaped.

Source: iptables(8): exit 4 is a resource problem, the lock among them.
"""

import fcntl
import os
import subprocess
from contextlib import suppress
from errno import EBUSY, EINVAL
from pathlib import Path

from droplan_daemon.errors import CommitRejected, CommitUnknown, DroplanError, KernelUnsupported, NotPermitted
from droplan_daemon.model.addresses import Family
from droplan_daemon.plaintext import cut, escape

LOCK = "/run/xtables.lock"
_BASE = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RESOURCE = 4  # RESOURCE_PROBLEM
_WORK = 60.0  # seconds that a run may take beyond its wait for the lock
_NET_ADMIN, _NET_RAW = 12, 13  # CAP_NET_ADMIN, CAP_NET_RAW
DROP_IN = (
    "install -D -m 0644 -t /etc/systemd/system/droplan.service.d /usr/lib/droplan/iptables.conf, "
    "then systemctl daemon-reload and systemctl restart droplan"
)
"""What gives the daemon the rights that the programs of iptables ask for."""


class Program:
    """iptables or ip6tables; `variant` is `nft`, `legacy`, or None for what the machine's own is."""

    def __init__(self, family: Family, variant: str | None, wait: float) -> None:
        self._base = "-".join(filter(None, (_BASE[family], variant)))
        self._family = family
        self._wait = max(round(wait), 1)

    @property
    def present(self) -> bool:
        """Whether there is such a program, and such a family in this kernel."""
        return where(f"{self._base}-restore") is not None and family_is_on(self._family)

    @property
    def absence(self) -> str:
        """Why rules of this family are not written, as a sentence for people."""
        version = f"IPv{self._family.value}"
        if not family_is_on(self._family):
            return f"{version}: this kernel has none, so there are no rules for it"
        return (
            f"{version}: there is no {self._base}-restore, so nothing of it is filtered; install the package "
            f"iptables whole, or set firewall.backend"
        )

    def save(self) -> str:
        """The filter table, with counters. Raises KernelUnsupported, NotPermitted, CommitUnknown."""
        done = self._run("save", "-c", "-t", "filter")
        if done.returncode:
            message = f"{self._base}-save could not read the rules: {_said(done.stderr)}{_lacking()}"
            raise self._reason(done.returncode) or CommitUnknown(message, reason="unread")
        return done.stdout

    def restore(self, text: str) -> None:
        """Load it as one change. Raises CommitRejected (nothing changed), CommitUnknown, NotPermitted."""
        done = self._run("restore", "--noflush", "--counters", "-w", str(self._wait), text=text)
        if done.returncode == 0:
            return
        if reason := self._reason(done.returncode):
            raise reason
        message = f"{self._base}-restore refused the rules: {_said(done.stderr)}{_lacking()}"
        raise CommitRejected(message, errno=EINVAL)

    def _run(self, what: str, *options: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        name = f"{self._base}-{what}"
        path = where(name)
        if path is None:
            message = f"there is no {name}: install the package iptables, or set firewall.backend"
            raise KernelUnsupported(f'{message} = "nftables"', feature="iptables")
        try:
            return subprocess.run(
                [path, *options],
                input=text,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=self._wait + _WORK,
                env={"PATH": SEARCH, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired as error:
            raise CommitUnknown(f"{name} did not end in time", reason="no_reply") from error
        except OSError as error:
            raise CommitRejected(f"{name} cannot be run: {error.strerror}", errno=error.errno or 0) from error

    def _reason(self, code: int) -> DroplanError | None:
        """Why a program failed, as far as that can be seen without its words."""
        if not _may(_NET_ADMIN):
            return NotPermitted(f"{self._base} needs root, or CAP_NET_ADMIN and CAP_NET_RAW")
        if code != _RESOURCE:
            return None
        holder = _lock_holder()
        if holder is None:
            return None
        message = (
            f"{holder} has held the lock of iptables ({LOCK}) for {self._wait} seconds; the rules stay as "
            f"they are until it is free"
        )
        return CommitRejected(message, errno=EBUSY)


def where(name: str) -> str | None:
    """As shutil.which, which would load two compressors into the daemon: 0.8 MB."""
    paths = (Path(folder, name) for folder in SEARCH.split(":"))
    return next((str(path) for path in paths if path.is_file() and os.access(path, os.X_OK)), None)


def family_is_on(family: Family) -> bool:
    """Whether this kernel speaks it."""
    return family is Family.IPV4 or Path("/proc/sys/net/ipv6").is_dir()


def _said(text: str) -> str:
    """The last thing that a program said."""
    rows = [row.strip() for row in text.splitlines() if row.strip() and not row.startswith("Try ")]
    return cut(escape(rows[-1]), 200) if rows else "it did not say why"


def may_run() -> bool:
    """Whether this process has the rights that the programs of iptables ask for."""
    return _may(_NET_ADMIN) and _may(_NET_RAW)


def _lacking() -> str:
    """What a person can do about rights that are missing, as the end of a sentence."""
    return "" if _may(_NET_RAW) else f" (this process has no CAP_NET_RAW; {DROP_IN})"


def _may(capability: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    held = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(held, 16) >> capability & 1)


def _lock_holder() -> str | None:
    """Who holds the lock of iptables, in words; None: nobody."""
    try:
        with Path(LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _locking_process() or "another program"
    except OSError:
        return None
    return None


def _locking_process() -> str | None:
    """Its name and number, from proc_locks(5)."""
    with suppress(OSError, ValueError):
        inode = Path(LOCK).stat().st_ino
        for row in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = row.split()
            if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
                name = Path("/proc", words[4], "comm").read_text(encoding="utf-8", errors="replace")
                return f"{escape(name.strip())} (process {words[4]})"
    return None
