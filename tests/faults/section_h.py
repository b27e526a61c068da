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
            happens=(
                "Every mistake is told at once, exit 78, which systemd does not try again; what boot "
                "restored stays."
            ),
            shows="`config.invalid key=… line=…`, exit code 78",
        ),
        Fault(
            "H2",
            fault="A bad configuration on reload",
            happens="The old configuration goes on, and `systemctl reload droplan` fails with the reason.",
            shows="`config.rejected`",
        ),
        Fault(
            "H3",
            fault="A configuration that cuts the way in",
            happens=(
                "`check` and `plan` say who can log in and whose logins would be cut; a policy that leaves "
                "nobody a way in is refused, by the daemon too. `droplan try` makes it hold "
                "under a lease of the kernel, and unless it is confirmed the rules of before hold again "
                "with every process killed. What was not confirmed is enforced by no restart, reload or boot."
            ),
            shows=(
                "`guard.refused reason=lock_out` or `unconfirmed`, `try.running`, `try.expired`, STATUS with "
                "its seconds"
            ),
        ),
        Fault(
            "H4",
            fault="The lease ends late",
            happens=(
                "The kernel's own clock ends it, at most a second after its time; with iptables it is the "
                "timeout of an ip set."
            ),
            shows="`try.expired`, `pause.ended`",
        ),
        Fault(
            "H5",
            fault="A slip in a tag that leaves no peers",
            happens=(
                "Shown by `plan` and `check --fleet`; a reload or a restart with it is refused, and the "
                "peers stay, until `droplan accept`."
            ),
            shows="`guard.refused reason=tag_unknown`",
        ),
    ),
)
