"""Carries a Migration out: the edge that writes.

Laws:
1. A step either happened or it did not; when one fails, those before it are undone, last first.
2. Once old chains are gone nothing is undone: the new rules stand, and starting again finishes.
3. What is removed is looked up again in the moment of removing, in one transaction, and looked at after.
"""

import os
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.checkpoint.atomic import write_atomic
from droplan_daemon.errors import CommitConflict, DroplanError, StoreFailed
from droplan_daemon.persist import files, tools
from droplan_daemon.plaintext import MASK

from . import chains
from .planning import (
    CleanRules,
    Commit,
    DisableFile,
    DisableLines,
    MoveChainsAside,
    RemoveChains,
    SaveRules,
    StopContainer,
    StopTimer,
    WriteConfig,
    WriteToken,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .chains import Leftovers
    from .planning import Migration, Step

    Undo = Callable[[], None]

_SECRET, _OPEN = 0o600, 0o644
_ATTEMPTS = 3
_COMMENT = "#droplan.disabled# "
_SYSTEMD = Path("run/systemd/system")


@dataclass(frozen=True, slots=True)
class Variant:
    """The commands of one variant of iptables: `save` prints, `restore` changes and flushes nothing."""

    save: tools.Words
    restore: tools.Words

    def leftovers(self) -> "Leftovers":
        """What the old program left there now. Raises StoreFailed."""
        return chains.leftovers(tools.output(self.save))


def variants() -> "dict[str, Variant]":
    """Every variant that is installed, by name; the plain one where no other is."""
    found: dict[str, Variant] = {}
    for name in ("iptables-nft", "iptables-legacy", "iptables"):
        made = Variant((f"{name}-save",), (f"{name}-restore", "--noflush", "-w", "10"))
        with suppress(StoreFailed):
            if name != "iptables" or not found:
                tools.output(made.save)
                found[name] = made
    return found


@dataclass(frozen=True, slots=True)
class Hands:
    """What carrying out needs: below which folder files are, the variants, and how to commit.

    `commit` puts the new rules into the kernel, and returns what takes them out again. `save` saves the
    host's rules; what fails there is told by itself.
    """

    root: Path
    variants: "Mapping[str, Variant]"
    commit: "Callable[[], Undo]"
    save: "Callable[[], None]"


class Interrupted(StoreFailed):
    """A step failed. `done` is what stands all the same, `undone` what was taken back."""

    def __init__(
        self, error: DroplanError, step: str, done: tuple[str, ...], undone: tuple[str, ...]
    ) -> None:
        super().__init__(f"could not {step}: {error}{_aftermath(done, undone)}")
        self.reason = error.reason
        self.done, self.undone = done, undone


def _aftermath(done: tuple[str, ...], undone: tuple[str, ...]) -> str:
    if done:
        return f" (this stands: {'; '.join(done)}; start again to finish)"
    return " (everything before it was undone)" if undone else " (nothing was changed)"


def carry_out(migration: "Migration", hands: Hands, tell: "Callable[[Step], None]") -> None:
    """Every step in order; `tell` hears of each that is done. Raises Interrupted."""
    undoing, done = _Undoing(), list[str]()
    for step in migration.steps:
        try:
            undoing.add(str(step), _act(step, hands))
        except DroplanError as error:
            if not undoing.passed:
                undone = undoing.undo()
                raise Interrupted(error, str(step), undoing.stuck, undone) from error
            raise Interrupted(error, str(step), tuple(done), ()) from error
        if isinstance(step, RemoveChains):
            undoing.passed = True
        done.append(str(step))
        tell(step)


class _Undoing:
    """What was done and how it is undone."""

    def __init__(self) -> None:
        self._undos: list[tuple[str, Undo]] = []
        self.passed = False
        self.stuck: tuple[str, ...] = ()

    def add(self, step: str, undo: "Undo") -> None:
        self._undos.append((step, undo))

    def undo(self) -> tuple[str, ...]:
        """Last first; what cannot be undone is `stuck`, and keeps nothing else from being undone."""
        undone, stuck = [], []
        for step, undo in reversed(self._undos):
            try:
                undo()
            except DroplanError as error:
                stuck.append(f"{step} ({error})")
            else:
                undone.append(step)
        self.stuck = tuple(stuck)
        return tuple(undone)


def _act(step: "Step", hands: Hands) -> "Undo":
    match step:
        case WriteToken():
            return _write_token(_at(hands, step.path), step)
        case WriteConfig():
            return _write_config(_at(hands, step.path), step)
        case StopTimer():
            return _stop_timer(step, hands)
        case DisableFile():
            return _rename(_at(hands, step.path), _at(hands, step.aside), hands)
        case DisableLines():
            return _comment_out(_at(hands, step.path), step)
        case StopContainer():
            return _stop_container(step)
        case MoveChainsAside():
            return _move_aside(step, hands.variants[step.variant])
        case Commit():
            return hands.commit()
        case RemoveChains():
            return _remove(hands.variants[step.variant])
        case CleanRules():
            return _clean(_at(hands, step.path))
        case SaveRules():
            hands.save()
            return lambda: None


def _at(hands: Hands, path: Path) -> Path:
    return hands.root / path.relative_to("/")


def _write_token(path: Path, step: WriteToken) -> "Undo":
    write_atomic(path, f"{step.token.reveal()}\n".encode(), _SECRET)
    return lambda: _unlink(path)


def _write_config(path: Path, step: WriteConfig) -> "Undo":
    old = files.read(path)
    if old is None:
        write_atomic(path, step.text.encode(), _OPEN)
        return lambda: _unlink(path)
    return _rewritten(old, step.text)


def _rewritten(old: files.Old, text: str) -> "Undo":
    """Another text in a file, the old one kept beside it; undoing gives both files back."""
    place = old.path.with_name(old.path.name + files.BACKUP)
    earlier = files.read(place)
    files.back_up(old, lambda _: True)

    def undo() -> None:
        files.replace(old.path, old.text, old)
        if earlier:
            files.replace(place, earlier.text, earlier)
        else:
            _unlink(place)

    return _or_undone(lambda: files.replace(old.path, text, old), undo)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreFailed(f"{path} could not be removed: {_reason(error)}", errno=error.errno) from error


def _rename(path: Path, aside: Path, hands: Hands) -> "Undo":
    """A new name that nobody reads; what the file says of the token is then root's alone."""
    mode = _renamed(path, aside, None)

    def undo() -> None:
        _renamed(aside, path, mode)
        _units_changed(path, hands)

    return _or_undone(lambda: _units_changed(path, hands), undo)


def _or_undone(rest: "Undo", undo: "Undo") -> "Undo":
    """What undoes a step that has a second half; when that half fails, the first is undone at once."""
    try:
        rest()
    except DroplanError:
        with suppress(DroplanError):
            undo()
        raise
    return undo


def _renamed(path: Path, to: Path, mode: int | None) -> int:
    """Give the file another name and mode (None: what its owner alone had); its mode before."""
    try:
        before = stat.S_IMODE(path.lstat().st_mode)
        path.rename(to)
        to.chmod(before & ~0o077 if mode is None else mode)
        folder = os.open(to.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with ExitStack() as stack:
            stack.callback(os.close, folder)
            os.fsync(folder)
    except OSError as error:
        raise StoreFailed(f"{path} could not be renamed: {_reason(error)}", errno=error.errno) from error
    return before


def _units_changed(path: Path, hands: Hands) -> None:
    if path.suffix in {".service", ".timer"} and (hands.root / _SYSTEMD).is_dir():
        tools.output(("systemctl", "daemon-reload"))


def _comment_out(path: Path, step: DisableLines) -> "Undo":
    old = files.read(path)
    if old is None:
        raise StoreFailed(f"{path} is gone")
    lines = old.text.splitlines(keepends=True)
    for number in step.lines:
        line = lines[number]
        hidden = line.replace(step.token.reveal(), MASK) if step.token else line
        lines[number] = _COMMENT + hidden
    files.replace(path, "".join(lines), old)
    return lambda: files.replace(path, old.text, old)


def _stop_timer(step: StopTimer, hands: Hands) -> "Undo":
    if not (hands.root / _SYSTEMD).is_dir():  # systemd does not run here
        return lambda: None
    tools.output(("systemctl", "disable", "--now", step.unit))
    return lambda: _ran("systemctl", "enable", "--now", step.unit)


def _stop_container(step: StopContainer) -> "Undo":
    name, before = step.container.name, step.container
    tools.output(("docker", "update", "--restart=no", name))

    def undo() -> None:
        tools.output(("docker", "update", f"--restart={before.restart or 'no'}", name))
        if before.running:
            tools.output(("docker", "start", name))

    return _or_undone(lambda: _ran("docker", "stop", name), undo)


def _ran(*words: str, text: str | None = None) -> None:
    tools.output(words, text)


def _move_aside(step: MoveChainsAside, variant: Variant) -> "Undo":
    script = chains.moved_aside(step.leftovers)
    if not script:
        return lambda: None
    tools.output(variant.restore, script)
    back = chains.moved_back(step.leftovers)
    return lambda: _ran(*variant.restore, text=back)


def _remove(variant: Variant) -> "Undo":
    """Remove what is there now; a last run of the old program may still change it meanwhile."""
    for attempt in range(_ATTEMPTS):
        found = variant.leftovers()
        if not found:
            return lambda: None
        try:
            tools.output(variant.restore, chains.removal(found))
        except StoreFailed:
            if attempt == _ATTEMPTS - 1:
                raise
    if variant.leftovers():
        raise CommitConflict("somebody puts the old chains back; stop the old droplan and start again")
    return lambda: None


def _clean(path: Path) -> "Undo":
    """Take the old chains out of a file of rules, and keep the file as it was beside it."""
    old = files.read(path)
    found = chains.leftovers(old.text) if old else None
    if not old or not found:
        return lambda: None
    return _rewritten(old, chains.without(old.text, found))


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown error").lower()
