"""The Meter of a configuration: the sums, and the ways by which they are told."""

from typing import TYPE_CHECKING

from droplan_daemon.errors import ExportFailed

from .families import View, families
from .tally import Tally, counted, reloaded, repaired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from droplan_daemon.effects import Exporter
    from droplan_daemon.model.budget import Budget
    from droplan_daemon.outcomes import Committed, Outcome, World
    from droplan_daemon.report import Standing


class Meter:
    """Counts, and offers to each Exporter."""

    def __init__(self, exporters: "Sequence[Exporter]", version: str) -> None:
        self._exporters = exporters
        self._version = version
        self._tally = Tally()

    def count(self, outcome: "Outcome", before: "World | None", now: float) -> None:
        """One more outcome."""
        self._tally = counted(self._tally, outcome, before, now)

    def repaired(self, outcome: "Committed") -> None:
        """One more repair between two polls."""
        self._tally = repaired(self._tally, outcome)

    def reload(self, result: str) -> None:
        """One more reload."""
        self._tally = reloaded(self._tally, result)

    def inherit(self, other: "Meter") -> None:
        """Go on counting where the Meter of the configuration before stopped."""
        self._tally = other._tally  # noqa: SLF001 - one of us

    def offer(
        self, standing: "Standing", budget: "Budget | None", conditions: tuple[str, ...], *, ready: bool
    ) -> "list[tuple[str, ExportFailed]]":
        """Tell everybody; the conditions that hold now because somebody could not be told."""
        found = families(self._tally, View(standing, budget, ready, conditions, self._version))
        failed = []
        for exporter in self._exporters:
            try:
                exporter.offer(found)
            except ExportFailed as error:
                failed.append((exporter.condition, error))
        return failed

    async def close(self) -> None:
        """Let go of every Exporter."""
        for exporter in self._exporters:
            await exporter.close()
