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
            happens=(
                "The process ends at once with 77 and one sentence that says what is missing; nothing is "
                "tried again and again. A daemon that enforces already and loses the right goes on, and "
                "says so."
            ),
            shows="`kernel.denied reason=not_permitted` in the journal, exit code 77",
        ),
        Fault(
            "D2",
            fault="A batch larger than the send buffer (20,000 peers and more)",
            happens=(
                "The buffer is made as large as the batch (SO_SNDBUFFORCE); it stays one datagram and one "
                "transaction."
            ),
            shows=(
                "nothing; should the kernel refuse it as too long all the same, `commit.retry errno=EMSGSIZE`"
            ),
        ),
        Fault(
            "D3",
            fault="The kernel has committed, and its answer is lost (ENOBUFS on receive)",
            happens=(
                "The kernel is read back before anything is believed or sent again; only the last message "
                "of a batch asks for an acknowledgement, so that there is little to lose."
            ),
            shows="`commit.unknown reason=overrun`, then `commit.verified`",
        ),
        Fault(
            "D4",
            fault="Nothing can be sent (ENOBUFS, ENOMEM, ECONNREFUSED)",
            happens=(
                "Nothing has changed. It is sent again after growing pauses, at most five times in a "
                "cycle; then the cycle has failed, and the next one tries."
            ),
            shows="`commit.retry errno=ENOBUFS retry=…`; as a trouble that lasts, with `.over` at its end",
        ),
        Fault(
            "D5",
            fault="A system call that is interrupted, takes only a part, or is slow",
            happens=(
                "The right outcome, or as D3: what is read back counts, and what never got there is sent "
                "again."
            ),
            shows="as D3",
        ),
        Fault(
            "D6",
            fault="No answer at all",
            happens=(
                "Each wait ends after five seconds; then as D3, on a fresh socket. What was not done is "
                "sent again, at most five times."
            ),
            shows="`commit.unknown reason=no_reply`, then `commit.verified`",
        ),
        Fault(
            "D7",
            fault="One element among 20,000 is refused (EEXIST, ENOENT, EINVAL)",
            happens=(
                "All or nothing: no packet meets half a transaction. The refusal names the element; when "
                "at most one in a hundred (and at most 100) is refused, the others are committed without "
                "it, and it is tried again with the next change. Nobody who is in is left out so. With "
                "more of them nothing changes."
            ),
            shows=(
                "`commit.rejected errno=EEXIST peer=… address=… elements=…`, while it lasts, in STATUS "
                "and `droplan status` too"
            ),
        ),
        Fault(
            "D8",
            fault="Prefixes that nest, touch, come twice, or end at the last address",
            happens="They are merged before the kernel sees them, and compared merged.",
            shows="nothing: of 50,000 sets of ranges none is refused",
        ),
        Fault(
            "D9",
            fault="More elements than one message holds (100,000 peers)",
            happens="Several messages in one transaction.",
            shows="nothing",
        ),
        Fault(
            "D10",
            fault="Somebody else commits between our look and our commit",
            happens=(
                "The kernel refuses ours (the commit names the generation that was read); we look again "
                "and go by what is there now, at most five times in a cycle. Nothing half-done in any "
                "case."
            ),
            shows="`commit.conflict retry=…`",
        ),
        Fault(
            "D11",
            fault="A dump while another process commits comes back short or mixed",
            happens="A difference is believed only when it was read twice alike at one generation.",
            shows="nothing",
        ),
        Fault(
            "D12",
            fault="`nft flush ruleset`, a reload of nftables.service, any other change of our table",
            happens=(
                "The kernel's event is heard, and what differs is written again at once, without asking "
                "anybody; the log names who did it."
            ),
            shows=(
                "`tamper.detected by=nft pid=… change=…`, `tamper.repaired ms=…`; `tamper.contested` for "
                "who goes on"
            ),
        ),
        Fault(
            "D13",
            fault="A table that would vanish with its process (`owner` without `persist`)",
            happens="Never used: ours outlives every process of ours.",
            shows="nothing",
        ),
        Fault(
            "D15",
            fault="So many events that some are lost",
            happens="All is looked at again; never fatal. Our own commits are not even queued.",
            shows="`events.overrun resync=1`",
        ),
        Fault(
            "D16",
            fault="Objects in our table, or in others, that no program of today knows",
            happens="In ours: put right, never a crash. Other people's tables are never read.",
            shows="`tamper.detected`, `tamper.repaired`",
        ),
        Fault(
            "D17",
            fault="Another table drops what ours accepts, or judges before it",
            happens=(
                "It cannot be overruled in nftables, where a drop anywhere is final. `droplan doctor` "
                "looks through all other tables and chains for what would stop a packet that ours lets "
                "in, and names it."
            ),
            shows=(
                "`droplan doctor`: the finding with the chain, and what to do about it; the daemon itself "
                "does not look, for it never reads foreign tables"
            ),
        ),
        Fault(
            "D18",
            fault="No nf_tables, a module that is not there, a socket that is forbidden, an old kernel",
            happens=(
                "The process ends with 78 and one sentence that names the feature and the command that "
                "brings it; iptables is used only where it is configured or the host's own rules are of "
                "that kind."
            ),
            shows=(
                "`kernel.unsupported feature=nfnetlink` in the journal, exit code 78 (77 where it is the "
                "right that is missing)"
            ),
        ),
        Fault(
            "D19",
            fault="A set is full",
            happens=(
                "Sets are declared with room for a quarter more than they have, and a larger one is a new "
                "set in the same transaction. Should one be full all the same, nothing of the batch is "
                "applied (ENFILE), and that is told; members that others put in go before ours come."
            ),
            shows="`commit.rejected errno=ENFILE`",
        ),
        Fault(
            "D20",
            fault="The kernel takes a minute for a commit",
            happens=(
                "The loop stays alive and the watchdog fed; after half a minute the daemon is not ready "
                "until it is over."
            ),
            shows="`commit.slow`, `degraded: …` in the status line",
        ),
        Fault(
            "D21",
            fault="A peer leaves while its connection is open and busy",
            happens=(
                "It is cut by the commit that removes it, whatever connection tracking remembers; our own "
                "connections to it, and those of other peers, go on."
            ),
            shows="nothing but `peer.left`",
        ),
        Fault(
            "D22",
            fault="Elements that end by themselves",
            happens=(
                "No member of a set has a time limit; only the leases of `droplan try` and `droplan "
                "pause` do, for that is what they are for."
            ),
            shows="nothing",
        ),
        Fault(
            "D24",
            fault="A large difference keeps the kernel busy",
            happens=(
                "What is written is the difference: a newcomer among 20,000 is one element. Single "
                "addresses are in hash sets, only prefixes are in interval sets; while it is written "
                "nobody loses a packet."
            ),
            shows="`droplan_commit_duration_seconds` (metric)",
        ),
    ),
)
