"""The Keeper: prints the host's rules, tries them, and saves what differs.

Laws:
1. Sets are in their file before the rules that name them are in theirs, and leave it after.
2. What fails for one family keeps nobody from saving the other; all that failed is told in the end.
3. A file of rules is made even for an empty table: Debian's ip6tables plugin fails without one. A file
   of sets is made where there are sets.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import StoreFailed

from . import dump, files, tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.model.ruleset import Ruleset

    from .layout import Layout
    from .tools import Tools, Words


class Result(StrEnum):
    """What became of one file."""

    SAVED = "saved"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of one file; `note` is a sentence, `backup` where the previous one is kept."""

    path: Path
    result: Result
    note: str = ""
    backup: Path | None = None
    errno: int | None = None


@dataclass(frozen=True, slots=True)
class IptablesKeeper:
    """Saves what `tools` print to the files of `layout`. `ipv6` is there exactly if the kernel has it.

    `strict`: sets that nobody restores keep rules that name them from being saved, for at boot
    iptables-restore would refuse the whole file.
    """

    layout: "Layout"
    tools: "Tools" = field(default_factory=tools.Tools)
    strict: bool = True
    ipv6: Path = Path("/proc/sys/net/ipv6")

    def keep(self, ruleset: "Ruleset | None") -> None:  # noqa: ARG002 - all of the host's rules, ours among them
        """Save. Raises StoreFailed with every file that could not be."""
        failed = [saved for saved in self.save() if saved.result is Result.FAILED]
        if failed:
            code = next((saved.errno for saved in failed if saved.errno is not None), None)
            raise StoreFailed("; ".join(saved.note for saved in failed), errno=code)

    def save(self, *, dry_run: bool = False) -> tuple[Saved, ...]:
        """Save what differs, or only say what that would be; one Saved for each file of the layout."""
        return _Saving(self, dry_run=dry_run).run()

    def clear(self) -> tuple[Path, ...]:
        """Take droplan's own rules and sets out of the files, and nothing else; the files that changed.

        Raises StoreFailed with every file that still has some.
        """
        layout, told, done, failed = self.layout, self.tools, list[Path](), list[StoreFailed]()
        for path, without, usable in (
            (layout.rules_v4, dump.without_ours, _passes(told.test_v4)),
            (layout.rules_v6, dump.without_ours, _passes(told.test_v6)),
            (layout.ipsets, dump.sets_without_ours, _shaped),
        ):
            try:
                if path and _cleared(path, without, usable):
                    done.append(path)
            except StoreFailed as error:
                failed.append(error)
        if failed:
            message = f"{'; '.join(map(str, failed))}; droplan's rules in it would come back at the next boot"
            raise StoreFailed(message, errno=failed[0].errno)
        return tuple(done)


class _Saving:
    """One save: what was printed, and what became of it."""

    def __init__(self, keeper: IptablesKeeper, *, dry_run: bool) -> None:
        self._layout, self._tools, self._strict = keeper.layout, keeper.tools, keeper.strict
        self._ipv6, self._dry_run = keeper.ipv6, dry_run
        self._done: dict[Path, Saved] = {}

    def run(self) -> tuple[Saved, ...]:
        """Sets that old and new rules name, then the rules, then only what the rules on disk name."""
        found = self._families()
        sets = self._sets(frozenset().union(*(dump.names_of_sets(text) for _, text, _ in found)))
        older = _text(self._layout.ipsets)
        self._put_sets(sets, older)
        for path, text, test in found:
            if self._restorable(path, text, sets):
                self._put(path, text, dump.same_rules, _passes(test))
        self._put_sets(sets, older)
        return tuple(self._done.values())

    def _families(self) -> "list[tuple[Path, str, Words]]":
        """File, rules and trial command of each family that has rules which may be saved."""
        layout, told = self._layout, self._tools
        asked = [(layout.rules_v4, told.save_v4, told.test_v4)]
        if self._ipv6.exists():
            asked.append((layout.rules_v6, told.save_v6, told.test_v6))
        elif layout.rules_v6:
            self._note(layout.rules_v6, Result.SKIPPED, "the kernel has no IPv6")
        found = [
            (path, text, test)
            for path, save, test in asked
            if path and (text := self._rules(path, save, test)) is not None
        ]
        if not found:  # one family may be missing, both may not
            for path, saved in self._done.items():
                self._done[path] = replace(saved, result=Result.FAILED)
        return found

    def _rules(self, path: Path, save: "Words", test: "Words") -> str | None:
        """The rules of one family, tried; None: there are none that may be saved, and it is told."""
        try:
            text = tools.output(save)
            tools.output(test, text)
        except tools.NotInstalled as error:
            self._note(path, Result.SKIPPED, f"{path} is not saved: {error}")
        except StoreFailed as error:
            self._failed(path, f"{path} is not saved: {error}", error.errno)
        else:
            return text
        return None

    def _sets(self, named: frozenset[str]) -> str | None:
        """All sets of the host; None: they could not be had. That matters where rules name some."""
        path = self._layout.ipsets
        if path is None:
            return None
        try:
            text = tools.output(self._tools.save_sets)
        except tools.NotInstalled:
            return None if named else ""
        except StoreFailed as error:
            self._failed(path, f"{path} is not saved: {error}", error.errno)
            return None
        fault = dump.sets_fault(text)
        if fault:
            self._failed(path, f"{path} is not saved: {fault} of what `ipset save` prints")
            return None
        return text

    def _restorable(self, path: Path, text: str, sets: str | None) -> bool:
        """Whether the sets that these rules name will be there before them."""
        named = dump.names_of_sets(text)
        if not named or (self._layout.ipsets is None and not self._strict):
            return True
        if self._layout.ipsets is None:
            problem = (
                "its rules name ipsets, and nothing restores those at boot; "
                "install ipset-persistent (ipset-service), or set `ipset = false` in [firewall]"
            )
        elif sets is None:
            problem = "its rules name ipsets, and those could not be saved"
        elif named - dump.sets_in(sets):
            problem = "the sets that its rules name were changed meanwhile; it is tried again"
        else:
            return True
        self._failed(path, f"{path} is not saved: {problem}")
        return False

    def _put_sets(self, sets: str | None, older: str) -> None:
        path = self._layout.ipsets
        if path is None or sets is None or self._has_failed(path):
            return
        rules = (_text(self._layout.rules_v4), _text(self._layout.rules_v6))
        named = frozenset().union(*map(dump.names_of_sets, rules))
        self._put(path, dump.with_sets(sets, older, named), dump.same_sets, _shaped)

    def _put(
        self, path: Path, text: str, same: "Callable[[str, str], bool]", usable: "Callable[[str], bool]"
    ) -> None:
        """Save one file, if it differs; only the first time in one save the old one is kept beside it."""
        try:
            old = files.read(path)
            if same(old.text, text) if old else not text and path == self._layout.ipsets:
                self._done.setdefault(path, Saved(path, Result.UNCHANGED))
                return
            if path in self._done and self._done[path].result is Result.SAVED:
                self._replace(path, text, old)
                return
            backup = files.back_up(old, usable) if old and not self._dry_run else None
            self._replace(path, text, old)
            bad = backup is not None and old is not None and not usable(old.text)
            note = f"what stood in {path} could not have been restored; it is kept as {backup}" if bad else ""
            self._done[path] = Saved(path, Result.SAVED, note, backup)
        except StoreFailed as error:
            self._failed(path, str(error), error.errno)

    def _replace(self, path: Path, text: str, old: files.Old | None) -> None:
        if not self._dry_run:
            files.replace(path, text, old)

    def _has_failed(self, path: Path) -> bool:
        return path in self._done and self._done[path].result is Result.FAILED

    def _note(self, path: Path, result: Result, note: str) -> None:
        self._done[path] = Saved(path, result, note)

    def _failed(self, path: Path, note: str, code: int | None = None) -> None:
        self._done[path] = Saved(path, Result.FAILED, note, errno=code)


def _text(path: Path | None) -> str:
    """What stands in a file now; nothing where nothing can be read, for then it is left alone too."""
    try:
        old = files.read(path) if path else None
    except StoreFailed:
        return ""
    return old.text if old else ""


def _cleared(path: Path, without: "Callable[[str], str]", usable: "Callable[[str], bool]") -> bool:
    """Whether there was something to take out. Raises StoreFailed."""
    old = files.read(path)
    text = without(old.text) if old else ""
    if old is None or text == old.text:
        return False
    if not usable(text):
        raise StoreFailed(f"{path} could not be restored without droplan's chains, and is left as it is")
    files.back_up(old, usable)
    files.replace(path, text, old)
    return True


def _passes(test: "Words") -> "Callable[[str], bool]":
    """Whether rules could be restored, but for sets that are not there at the moment."""

    def usable(text: str) -> bool:
        try:
            tools.output(test, dump.without_sets(text))
        except StoreFailed:
            return False
        return True

    return usable


def _shaped(text: str) -> bool:
    return not dump.sets_fault(text)
