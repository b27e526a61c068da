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
            happens="What is known of this Droplet from before is used, and it is asked again.",
            shows="`metadata.failed using=cache`",
            pending=True,
        ),
        Fault(
            "C3",
            fault="The private interface is gone (a deleted VPC)",
            happens="Its rules are taken back only when the API agrees.",
            shows="`identity.changed`",
            pending=True,
        ),
        Fault(
            "C4",
            fault="Something else answers on that address",
            happens="Its answer is input like any other: bounded, checked, refused.",
            shows="`metadata.rejected`",
            pending=True,
        ),
    ),
)
