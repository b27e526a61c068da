"""Section C: metadata of the Droplet."""

from .catalogue import Fault, Section

SECTION = Section(
    "C",
    "Metadata of the Droplet",
    "",
    (
        Fault(
            "C1",
            fault="169.254.169.254 does not answer, fails, or is slow",
            happens=(
                "Who this Droplet is, and which interface is which, is told by its addresses or by what "
                "is kept from before; metadata are asked again with each poll."
            ),
            shows="`metadata.failed reason=… using=addresses` or `using=cache`",
        ),
        Fault(
            "C3",
            fault="The metadata tell of no private interface any more (a deleted VPC)",
            happens=(
                "While the API still tells of an address there, the interface is looked for by that "
                "address and its rules stay; where both agree that it is gone, they go when the answer "
                "has been confirmed (A21)."
            ),
            shows=(
                "`identity.changed`, and `host.unknown reason=interface_missing` where they do not agree "
                "and the interface is not there"
            ),
        ),
        Fault(
            "C4",
            fault="Something else answers on that address",
            happens=(
                "Its answer is input like any other: bounded in size and time, strict in shape, no token "
                "is sent. What does not fit is refused as a whole, and the rules stay."
            ),
            shows="`metadata.rejected`",
        ),
    ),
)
