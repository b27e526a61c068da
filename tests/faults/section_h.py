"""Section H: configuration and operator."""

from .catalogue import Fault, Section

SECTION = Section(
    "H",
    "Configuration and operator",
    "",
    (
        Fault(
            "H1",
            fault="A bad configuration at the start",
            happens="Exit 78; what boot restored stays; systemd does not try again.",
            shows="`config.invalid key=… line=…`, exit code 78",
            pending=True,
        ),
        Fault(
            "H2",
            fault="A bad configuration on reload",
            happens="The old one goes on, and the reload fails.",
            shows="`config.rejected`",
            pending=True,
        ),
        Fault(
            "H3",
            fault="A configuration that cuts the way in",
            happens=(
                "`check` and `plan` say who and which connections would be cut; `droplan try` keeps it only "
                "under a lease of the kernel."
            ),
            shows="`try.expired`",
            pending=True,
        ),
        Fault(
            "H4",
            fault="The lease ends late",
            happens="At most a second after its time.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "H5",
            fault="A slip in a tag that leaves no peers",
            happens="As A3: shown by `plan` and `check`, refused on a change.",
            shows="`guard.shrink.held`",
            pending=True,
        ),
    ),
)
