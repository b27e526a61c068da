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
            happens="The poll has a deadline of at most 30 s; everybody stays.",
            shows="`api.fetch.failed reason=deadline`",
            pending=True,
        ),
        Fault(
            "B2",
            fault="DNS says that the name does not exist, says nothing, or gives a wrong address",
            happens="As A1; neither the loop nor the watchdog waits for the resolver.",
            shows="`api.fetch.failed reason=dns`",
            pending=True,
        ),
        Fault(
            "B3",
            fault=(
                "The certificate has expired, is for another host, is not signed by anybody known, or our "
                "clock is wrong"
            ),
            happens="No connection without a valid certificate; there is no switch for one.",
            shows="`api.fetch.failed reason=tls_verify`",
            pending=True,
        ),
        Fault(
            "B4",
            fault="Our own new rules cut off the API",
            happens=(
                "Output and replies are allowed first; a connection after the commit that fails although "
                "one before it worked takes the previous rules back."
            ),
            shows="`commit.rolled_back probe=api`",
            pending=True,
        ),
        Fault(
            "B7",
            fault="No network for the first ten minutes after boot",
            happens="What was kept is enforced; ready within five seconds of it, without the API.",
            shows="`boot.restored peers=… age=…`",
            pending=True,
        ),
        Fault(
            "B8",
            fault="IPv6 is absent or switched off",
            happens="IPv4 is enforced, and the rules for IPv6 stand all the same.",
            shows="one warning",
            pending=True,
        ),
    ),
)
