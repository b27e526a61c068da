"""Section A: the API of DigitalOcean."""

from .catalogue import Fault, Section

SECTION = Section(
    "A",
    "The API of DigitalOcean",
    ("What the API says is a foreign text until it adds up. A poll is believed as a whole or not at all."),
    (
        Fault(
            "A1",
            fault="It answers 500, 502, 503 or 504",
            happens="Nothing changes; the next tries are spread out and at most five minutes apart.",
            shows="`api.fetch.failed status=502 kept_peers=… age=…`",
            pending=True,
        ),
        Fault(
            "A2",
            fault="A page in the middle fails (page 3 of 5)",
            happens=(
                "The whole poll is thrown away; half a list is no list, and nothing is written to the kernel."
            ),
            shows="`api.fetch.failed page=3`",
            pending=True,
        ),
        Fault(
            "A3",
            fault="A well-formed answer without any Droplet, while there were some",
            happens="Refused: this Droplet itself is not in it.",
            shows="`api.snapshot.rejected reason=self_missing`",
            pending=True,
        ),
        Fault(
            "A4",
            fault="No Droplets, but a total of 412",
            happens="Refused: the answer contradicts itself.",
            shows="`api.snapshot.rejected reason=count_mismatch`",
            pending=True,
        ),
        Fault(
            "A5",
            fault="A Droplet is deleted while the pages are read, so that a living one slips past",
            happens=(
                "The list is read again until it adds up; nobody is removed on the word of one that does not."
            ),
            shows="`api.snapshot.unstable relist=…`",
            pending=True,
        ),
        Fault(
            "A6",
            fault="A Droplet is created while the pages are read, so that another comes twice",
            happens="As A5; the one that came twice counts once.",
            shows="`api.snapshot.unstable relist=…`",
            pending=True,
        ),
        Fault(
            "A8",
            fault="The link to the next page leads to another host, to plain http or to an address",
            happens="It is never followed and the token never sent there; page numbers are our own.",
            shows="`api.snapshot.rejected reason=foreign_next`",
            pending=True,
        ),
        Fault(
            "A9",
            fault="401: the token was revoked or has expired",
            happens="Everybody stays; the API is asked slowly until an operator acts. No restart loop.",
            shows="`api.auth.failed status=401`, an error; the status line says it",
            pending=True,
        ),
        Fault(
            "A10",
            fault="403: the token lacks a scope",
            happens="As A9, and the missing scope is named.",
            shows="`api.auth.forbidden scope=droplet:read`",
            pending=True,
        ),
        Fault(
            "A11",
            fault="429, with or without `retry-after`, or with a `ratelimit-reset` in the past or in 2099",
            happens=(
                "The API's wish is kept, within a second and a quarter of an hour, by a clock that never "
                "jumps."
            ),
            shows="`api.ratelimited wait=…`",
            pending=True,
        ),
        Fault(
            "A12",
            fault="An answer that drips in byte by byte",
            happens="The whole poll has a deadline; the watchdog is fed meanwhile.",
            shows="`api.fetch.failed reason=deadline`",
            pending=True,
        ),
        Fault(
            "A13",
            fault="A body that is cut off, of the wrong length, HTML, or of the wrong content type",
            happens="Refused as a whole.",
            shows="`api.snapshot.rejected reason=bad_body`",
            pending=True,
        ),
        Fault(
            "A15",
            fault=(
                "JSON that nests 100,000 deep, a number of 5,000 digits, NaN, a key twice, a NUL, a "
                "fractional id"
            ),
            happens="Refused as a whole, at once and without a crash.",
            shows="`api.snapshot.rejected reason=bad_json`",
            pending=True,
        ),
        Fault(
            "A16",
            fault=(
                "Addresses that are none: `0.0.0.0`, loopback, link-local, multicast, `10.0.0.1/0`, `true`, "
                "`10`, mapped IPv6, a zone"
            ),
            happens=(
                "They never reach the kernel; the entry is left out and said so, and with more than 1 % of "
                "such entries the whole answer is refused."
            ),
            shows="`api.peer.skipped id=… reason=…`",
            pending=True,
        ),
        Fault(
            "A17",
            fault="A Droplet that is new and has no address yet",
            happens="It is counted and is no peer yet; no error.",
            shows="nothing",
            pending=True,
        ),
        Fault(
            "A18",
            fault="GPU Droplets, which only their own list has",
            happens="Both lists are read, or the poll fails as A2.",
            shows="the count in `droplan status`",
            pending=True,
        ),
        Fault(
            "A19",
            fault="More than 30 % of the fleet is gone in one honest answer",
            happens=(
                "Removals wait until three polls agree or the operator says `droplan accept`; additions go "
                "through at once."
            ),
            shows="`guard.shrink.held removed=… of=…`",
            pending=True,
        ),
        Fault(
            "A21",
            fault="This Droplet's own id, region or VPC changes",
            happens="Everything is worked out anew; nobody is removed until it is confirmed.",
            shows="`identity.changed`",
            pending=True,
        ),
        Fault(
            "A22",
            fault="Hundreds of Droplets ask in step",
            happens="Polls are spread by a fifth and stretched to what the token affords for the fleet.",
            shows="at most 250 requests a minute for each token",
            pending=True,
        ),
    ),
)
