"""Section F: clock."""

from .catalogue import Fault, Section

SECTION = Section(
    "F",
    "Clock",
    "",
    (
        Fault(
            "F2",
            fault="A boot in 1970 (no clock), and a clock that is set later, forth or back",
            happens=(
                "What was kept is enforced; its age is unknown rather than wrong; ages do not jump; TLS "
                "as B3."
            ),
            shows="`clock.suspect`",
        ),
        Fault(
            "F3",
            fault="The process or the machine is paused for ten minutes",
            happens="One poll, not one for each that was missed; what others changed meanwhile is put right.",
            shows="`loop.gap s=600`",
        ),
        Fault(
            "F4",
            fault="The clock steps back while state is saved",
            happens="Generations are ordered by their number, never by a time: the newer one counts.",
            shows="nothing",
        ),
    ),
)
