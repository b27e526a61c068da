"""Looks at a machine for what the old droplan left: the edge that reads. Nothing is changed.

Law: whatever stands in a file, reading it gives a value or nothing: no file of somebody else's may
stop a migration, except by being named in it.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from droplan_daemon.settings import Token

from . import chains, cron, places
from .finding import Crontab, Found, Told
from .runs import told

_LONGEST = 1 << 20
_CRON_FOLDER = Path("etc/cron.d")
# Debian's place for `crontab -e` of root, CentOS's, and the file with a user in each line.
_CRONTABS = (Path("var/spool/cron/crontabs/root"), Path("var/spool/cron/root"), Path("etc/crontab"))
_WITH_USERS = frozenset({"crontab"})
_UNITS = Path("etc/systemd/system")
_SCRIPT = "/opt/droplan/refresh.sh"
_CONTAINERS = Path("var/lib/docker/containers")
_RULES = (Path("etc/iptables/rules.v4"), Path("etc/sysconfig/iptables"))
# What `systemctl enable firewalld` makes.
_FIREWALLD = Path("etc/systemd/system/dbus-org.fedoraproject.FirewallD1.service")


def search(root: Path, environ: Mapping[str, str], config: Path) -> Found:
    """Look below `root`; `environ` may tell what the files do not. `config` is the new program's."""
    looking = _Looking(root)
    crontabs, from_cron = looking.crontabs()
    units, from_units = looking.units()
    containers, from_containers = looking.containers()
    said = [*from_cron, *from_units, *from_containers] or looking.script()
    token, given = (looking.text(config.with_name("token")) or "").strip(), environ.get("DO_KEY", "").strip()
    return Found(
        told=tuple(said),
        crontabs=tuple(crontabs),
        units=tuple(units),
        containers=tuple(containers),
        rules=tuple(looking.rules()),
        config=looking.text(config),
        token=Token(token) if token else None,
        given=Token(given) if given else None,
        firewalld=(root / _FIREWALLD).is_symlink(),
    )


def _told(origin: Path | str, said: Mapping[str, str | None]) -> Told:
    key = (said.get("DO_KEY") or "").strip()
    return Told(
        origin=origin,
        token=Token(key) if key else None,
        tag=said.get("DO_TAG") or "",
        public=said.get("PUBLIC") == "true",  # the old program compared with just this
        interval=said.get("DO_INTERVAL") or "",
        unknown=tuple(name for name, value in said.items() if value is None),
    )


def _content(number: int) -> bytes:
    with os.fdopen(number, "rb", closefd=False) as file:
        return file.read(_LONGEST)


class _Looking:
    """One look at one machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def text(self, place: Path) -> str | None:
        """The text of a file of bounded size; None when there is none that can be read."""
        try:
            number = os.open(self._root / str(place).lstrip("/"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            readable = stat.S_ISREG(os.fstat(number).st_mode)
            return _content(number).decode("utf-8", "replace") if readable else None
        except OSError:
            return None
        finally:
            os.close(number)

    def _file(self, name: str) -> str | None:
        """A file as a script names it."""
        return self.text(Path(name.lstrip("/"))) if name.startswith("/") else None

    def _inside(self, folder: Path) -> Iterator[Path]:
        try:
            names = sorted(path.name for path in (self._root / folder).iterdir())
        except OSError:
            return
        yield from (folder / name for name in names)

    def crontabs(self) -> tuple[list[Crontab], list[Told]]:
        """Those with jobs of the old program."""
        found, said = [], []
        for place in (*self._inside(_CRON_FOLDER), *_CRONTABS):
            text = self.text(place)
            if text is None or place.name.endswith("~"):  # cron passes those over, and so do we
                continue
            users = place.parent == _CRON_FOLDER or place.name in _WITH_USERS
            jobs = cron.jobs(text, users=users)
            runs = [(job, told(job.command, job.variables, self._file)) for job in jobs]
            mine = [(job.line, variables) for job, variables in runs if variables is not None]
            if mine:
                whole = place.parent == _CRON_FOLDER and len(mine) == len(jobs)
                found.append(Crontab(Path("/", place), tuple(line for line, _ in mine), whole))
                said += [_told(Path("/", place), variables) for _, variables in mine]
        return found, said

    def units(self) -> tuple[list[Path], list[Told]]:
        """Units of the administrator that run the old program, and the timers that start them."""
        found, said = [], []
        for place in self._inside(_UNITS):
            text = self.text(place) if place.suffix == ".service" else None
            variables = None if text is None else places.unit(text, self._file)
            if variables is not None:
                said.append(_told(Path("/", place), variables))
                timer = place.with_suffix(".timer")
                found += [Path("/", unit) for unit in (timer, place) if self.text(unit) is not None]
        return found, said

    def containers(self) -> tuple[list[places.Container], list[Told]]:
        """Docker's containers of the old program, as far as they are still alive."""
        found, said = [], []
        for folder in self._inside(_CONTAINERS):
            config, host = (self.text(folder / name) for name in ("config.v2.json", "hostconfig.json"))
            made = places.container(config or "", host or "")
            if made is not None:
                found += [made[0]] if made[0].alive else []
                said.append(_told(f"the container {made[0].name}", made[1]))
        return found, said

    def script(self) -> list[Told]:
        """The tutorial's script by itself: for who disabled cron already, or starts it otherwise."""
        text = self._file(_SCRIPT)
        said = None if text is None else told(text, {}, self._file)
        return [_told(Path(_SCRIPT), said)] if said else []

    def rules(self) -> "Iterator[tuple[Path, chains.Leftovers]]":
        """Files of rules that would bring the old chains back at the next boot."""
        for place in _RULES:
            text = self.text(place)
            found = None if text is None else chains.leftovers(text)
            if found:
                yield Path("/", place), found
