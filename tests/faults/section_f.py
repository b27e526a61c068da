"""Section F: clock."""

from .catalogue import Fault, Section

SECTION = Section(
    "F",
    "Clock",
    "",
    (
        Fault(
            "F2",
            fault="A boot in 1970 (no clock)",
            happens="What was kept is enforced; its age is unknown rather than wrong; TLS as B3.",
            shows="`clock.suspect`",
            pending=True,
        ),
        Fault(
            "F3",
            fault="The machine is paused for ten minutes",
            happens="One poll, not one for each that was missed.",
            shows="`loop.gap s=600`",
            pending=True,
        ),
        Fault(
            "F4",
            fault="The clock steps back while state is saved",
            happens="Generations are ordered by their number, never by a time: the newer one counts.",
            shows="nothing",
        ),
    ),
)
