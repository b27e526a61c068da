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
            happens=(
                "The old file stays whole and nothing is left beside it; enforcement goes on, and saving "
                "is tried again with every cycle, also when nothing else changes."
            ),
            shows=(
                "`state.write.failed errno=ENOSPC`, “not saved” in STATUS and `droplan status`; "
                "`droplan_checkpoint_current 0`"
            ),
        ),
        Fault(
            "E2",
            fault="The disk fails to flush (EIO on fsync), or does not answer",
            happens=(
                "The new version is not trusted and never renamed into place; the next try writes a new "
                "file. A disk that hangs holds a cycle up for five seconds, then it goes on."
            ),
            shows="`state.write.failed errno=EIO`, `reason=slow` for a disk that does not answer",
        ),
        Fault(
            "E3",
            fault="A read-only file system, no permission, the folder is gone",
            happens=(
                "Enforcement goes on, fleets are followed, the old state stays as it is; a folder that is "
                "gone is made again. Saved as soon as it can be."
            ),
            shows="`state.write.failed errno=EROFS` (EACCES …), as E1",
        ),
        Fault(
            "E4",
            fault="Killed at any system call of a save",
            happens=(
                "The old file or the new one, never anything between; kept state and a boot script of "
                "different age are noticed, and saved anew."
            ),
            shows="nothing",
        ),
        Fault(
            "E5",
            fault="A state file that is torn, empty, cut off, or has a flipped bit",
            happens=(
                "Its checksum fails: the generation before is used, by the daemon and at boot alike. "
                "Where neither is good, boot closes the private interface and the daemon waits for the "
                "first answer."
            ),
            shows="`state.rejected reason=checksum used=previous` (or `used=none`)",
        ),
        Fault(
            "E6",
            fault="A state file of a newer version (after a downgrade), or with fields that nobody knows",
            happens="Refused as that, not as damaged; the generation before is used.",
            shows="`state.rejected reason=version` (or `shape`)",
        ),
        Fault(
            "E8",
            fault="No inodes left, or a quota",
            happens="As E1: the old file stays whole, and saving is tried again.",
            shows="`state.write.failed errno=ENOSPC` (EDQUOT for a quota)",
        ),
        Fault(
            "E9",
            fault="State of thirty days ago at boot",
            happens=(
                "It is enforced all the same, for old rules are better than none; it is called stale, and "
                "the first good poll replaces it."
            ),
            shows="`boot.restored age=2592000 stale=1`, as a warning; “restored … which is long” in STATUS",
        ),
    ),
)
