"""Section B: network, DNS, TLS."""

from .catalogue import Fault, Section

SECTION = Section(
    "B",
    "Network, DNS, TLS",
    "",
    (
        Fault(
            "B1",
            fault="The API's address swallows packets",
            happens=(
                "The poll has thirty seconds; everybody stays, the watchdog is fed, and SIGTERM does not "
                "wait."
            ),
            shows="`api.fetch.failed reason=deadline`",
        ),
        Fault(
            "B2",
            fault="DNS says that the name does not exist, says nothing, or gives a wrong address",
            happens=(
                "As A1. A name is looked up in a thread of its own: neither the loop nor a commit nor the "
                "end of the process waits for it."
            ),
            shows=(
                "`api.fetch.failed reason=dns`, for a wrong address `reason=connect` or `tls_verify`, for "
                "a resolver that hangs longer than a poll `reason=deadline`"
            ),
        ),
        Fault(
            "B3",
            fault=(
                "The certificate has expired, is for another host, is not signed by anybody known, or our "
                "clock is wrong"
            ),
            happens="No connection without a valid certificate; there is no switch for one.",
            shows="`api.fetch.failed reason=tls_verify`",
        ),
        Fault(
            "B4",
            fault="Our own new rules cut off the API",
            happens=(
                "After a commit that changes more than members, a new connection to the API is made "
                "(name, TCP, TLS), if it had answered just before. Fails that twice, the rules of before "
                "are committed again, within about seven seconds; they are not tried again before a "
                "reload, or ten minutes. If the rules of before do not reach it either, it may be away by "
                "itself: the new ones get another chance half a minute later. A restart is no way round."
            ),
            shows=(
                "`commit.rolled_back probe=api`; the reload fails with what to do; “those of before are "
                "in force again” in STATUS"
            ),
        ),
        Fault(
            "B7",
            fault="No network for the first ten minutes after boot",
            happens=(
                "What was kept is enforced before anybody is asked, and the daemon is ready with it; "
                "neither API nor metadata are needed."
            ),
            shows="`boot.restored peers=… age=…`",
        ),
        Fault(
            "B8",
            fault="IPv6 is absent or switched off",
            happens="It is ready, IPv4 is enforced, and the rules for IPv6 stand all the same.",
            shows="`ipv6.off`, once at the start",
        ),
    ),
)
