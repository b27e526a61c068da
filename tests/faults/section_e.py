"""Section E: disk and kept state."""

from .catalogue import Fault, Section

SECTION = Section(
    "E",
    "Disk and kept state",
    "",
    (
        Fault(
            "E1",
            fault="The disk is full",
            happens="The old file stays whole, enforcement goes on, saving is tried again.",
            shows="`state.write.failed errno=ENOSPC`",
            pending=True,
        ),
        Fault(
            "E2",
            fault="The disk fails to flush (EIO)",
            happens="The new version is not trusted, the old one stays whole.",
            shows="`state.write.failed errno=EIO`",
            pending=True,
        ),
        Fault(
            "E3",
            fault="A read-only file system, no permission, no folder",
            happens="Enforcement goes on without keeping.",
            shows="`state.write.failed`",
            pending=True,
        ),
        Fault(
            "E4",
            fault="Killed at any system call of a save",
            happens="The old file or the new one, never anything between.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "E5",
            fault="A state file that is torn, empty, cut off or has a flipped bit",
            happens="Its checksum fails; the one before is used, else boot stays closed.",
            shows="`state.rejected reason=checksum used=previous`",
            pending=True,
        ),
        Fault(
            "E6",
            fault="A state file of a newer version, or with unknown fields",
            happens="Refused cleanly, the one before is used.",
            shows="`state.rejected reason=version`",
            pending=True,
        ),
        Fault(
            "E8",
            fault="No inodes left, or a quota",
            happens="As E1.",
            shows="`state.write.failed`",
            pending=True,
        ),
        Fault(
            "E9",
            fault="State of thirty days ago at boot",
            happens="Enforced, marked as stale, replaced by the first good poll.",
            shows="`boot.restored age=2592000 stale=1`",
            pending=True,
        ),
    ),
)
