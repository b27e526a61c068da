"""Section D: kernel, netlink, other users of the firewall."""

from .catalogue import Fault, Section

SECTION = Section(
    "D",
    "Kernel, netlink, other users of the firewall",
    "",
    (
        Fault(
            "D1",
            fault="No right to change the firewall (no CAP_NET_ADMIN)",
            happens="Exit 77 at the start, with one line that says why.",
            shows="`kernel.denied`, exit code 77",
            pending=True,
        ),
        Fault(
            "D2",
            fault="A batch larger than the send buffer (20,000 peers)",
            happens="The buffer is made as large as the batch; still one transaction.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "D3",
            fault="The kernel's answer is lost (ENOBUFS on receive) although it has committed",
            happens="The kernel is read back before anything is believed or repeated.",
            shows="`commit.unknown`, then `commit.verified`",
            pending=True,
        ),
        Fault(
            "D4",
            fault="Nothing can be sent (ENOBUFS, ENOMEM)",
            happens="Nothing has changed; at most five tries, further and further apart.",
            shows="`commit.retry`",
            pending=True,
        ),
        Fault(
            "D5",
            fault="An interrupted, a short or a slow system call",
            happens="The right outcome, or as D3.",
            shows="as D3",
            pending=True,
        ),
        Fault(
            "D6",
            fault="No answer at all",
            happens="A deadline of five seconds, then as D3.",
            shows="`commit.unknown reason=no_reply`",
            pending=True,
        ),
        Fault(
            "D7",
            fault="One element among 20,000 is refused",
            happens=(
                "All or nothing; the bad one is named and left out, the others are committed if at most 1 % "
                "are bad."
            ),
            shows="`commit.rejected errno=… peer=…`",
            pending=True,
        ),
        Fault(
            "D8",
            fault="Prefixes that overlap, come twice, or end at the last address",
            happens="They are merged before the kernel sees them.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "D9",
            fault="More elements than one message holds (100,000 peers)",
            happens="Several messages, one transaction.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "D10",
            fault="Somebody else commits between our look and our commit",
            happens="The kernel refuses ours; we look again, at most five times.",
            shows="`commit.conflict retry=1`",
            pending=True,
        ),
        Fault(
            "D11",
            fault="A dump while another process commits comes back short or mixed",
            happens="A difference is believed only when it was read twice at the same generation.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "D12",
            fault="`nft flush ruleset`, or a reload of nftables.service",
            happens=(
                "The kernel's event is heard and the table is there again within a second; the log names "
                "who did it."
            ),
            shows="`tamper.detected by=nft pid=…`, `tamper.repaired ms=…`",
            pending=True,
        ),
        Fault(
            "D13",
            fault="A table that would vanish with its process",
            happens="Never used: ours has no owner flag.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "D15",
            fault="So many events that some are lost",
            happens="All is looked at again; never fatal, and our own commits are known as ours.",
            shows="`events.overrun resync=1`",
            pending=True,
        ),
        Fault(
            "D16",
            fault="Objects in our table that no program of today knows",
            happens="Repaired, never a crash; foreign tables are never read.",
            shows="`tamper.detected`, `tamper.repaired`",
            pending=True,
        ),
        Fault(
            "D17",
            fault="Another table drops what ours accepts",
            happens="It cannot be overruled; it is found and said.",
            shows="`path.blocked_elsewhere`",
            pending=True,
        ),
        Fault(
            "D18",
            fault="No nf_tables, a module that is not there, an old kernel",
            happens="The process ends with the missing feature named.",
            shows="`kernel.unsupported feature=…`, exit code 78 or 77",
            pending=True,
        ),
        Fault(
            "D19",
            fault="A set is full",
            happens="Nothing of the batch is applied; as D7.",
            shows="`commit.rejected`",
            pending=True,
        ),
        Fault(
            "D20",
            fault="The kernel takes a minute for a commit",
            happens="The loop stays alive, readiness is lost after half a minute.",
            shows="`commit.slow`",
            pending=True,
        ),
        Fault(
            "D21",
            fault="A peer that is removed has a connection open",
            happens="It is cut in the same commit; connections that we opened go on.",
            shows="the flow stops",
            pending=True,
        ),
        Fault(
            "D22",
            fault="Elements that expire by themselves",
            happens="Ours never do, but for the leases of `try` and `pause`.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "D24",
            fault="Huge differences keep the kernel busy",
            happens="Only what differs is written, at most one commit a second.",
            shows="the histogram of commit times",
            pending=True,
        ),
    ),
)
