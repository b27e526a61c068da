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
            happens=(
                "Nothing changes. The next tries come after a second to five minutes, spread out, for a "
                "fleet fails together."
            ),
            shows="`api.fetch.failed status=502 reason=http_status kept_peers=… age=…`",
        ),
        Fault(
            "A2",
            fault="A page in the middle fails (page 3 of 5)",
            happens=(
                "The whole poll is thrown away; half a list is no list, and nothing is written to the kernel."
            ),
            shows="`api.fetch.failed page=3 status=…`",
        ),
        Fault(
            "A3",
            fault="A well-formed answer without any Droplet, while there were some",
            happens="Refused: this Droplet itself is not in it.",
            shows="`api.snapshot.rejected reason=self_missing`",
        ),
        Fault(
            "A4",
            fault="No Droplets, but a total of 412",
            happens="Refused: the answer contradicts itself.",
            shows="`api.snapshot.rejected reason=count_mismatch`",
        ),
        Fault(
            "A5",
            fault="A Droplet is deleted while the pages are read, so that a living one slips past",
            happens=(
                "The list is read again until it adds up; nobody is removed on the word of one that does not."
            ),
            shows="`api.snapshot.unstable relist=…`",
        ),
        Fault(
            "A6",
            fault="A Droplet is created while the pages are read, so that another comes twice",
            happens="As A5; the one that came twice counts once.",
            shows="`api.snapshot.unstable relist=…`",
        ),
        Fault(
            "A8",
            fault="The link to the next page leads to another host, to plain http or to an address",
            happens="It is never followed and the token never sent there; page numbers are our own.",
            shows="`api.snapshot.rejected reason=foreign_next`",
        ),
        Fault(
            "A9",
            fault="401: the token was revoked or has expired",
            happens=(
                "Everybody stays. The API is asked every four to five minutes until an operator acts; no "
                "restart loop. A new token counts from `systemctl reload droplan` on."
            ),
            shows="`api.auth.failed status=401`, an error that says where the token belongs",
        ),
        Fault(
            "A10",
            fault="403: the token lacks a scope",
            happens="As A9, and the missing scope is named.",
            shows="`api.auth.forbidden scope=droplet:read`, an error",
        ),
        Fault(
            "A11",
            fault="429, with or without `retry-after`, or with a `ratelimit-reset` in the past or in 2099",
            happens=(
                "What the API asks for is waited, at least a second and at most a quarter of an hour; "
                "without anything usable, a minute. Only the distance to the API's own time counts, and "
                "the wait itself is measured by a clock that never jumps."
            ),
            shows="`api.ratelimited wait=… status=429`",
        ),
        Fault(
            "A12",
            fault="An answer that drips in byte by byte",
            happens=(
                "A poll has thirty seconds for everything, however steadily its bytes come. Repairs "
                "go on meanwhile, the watchdog is fed, and SIGTERM is heard."
            ),
            shows="`api.fetch.failed reason=deadline`",
        ),
        Fault(
            "A13",
            fault="A body that is cut off, of the wrong length, HTML, or of the wrong content type",
            happens=(
                "Refused as a whole. A body is read up to a limit of decoded bytes, so that neither an "
                "endless one nor a zip bomb fills the memory."
            ),
            shows=(
                "`api.snapshot.rejected reason=bad_body` (`bad_json` where what arrived is cut off in the "
                "middle of its JSON; `api.fetch.failed reason=connection` where the connection broke)"
            ),
        ),
        Fault(
            "A15",
            fault=(
                "JSON that nests 100,000 deep, a number of 5,000 digits, NaN, a key twice, a NUL, a "
                "fractional id"
            ),
            happens=(
                "Refused as a whole, at once and without a crash; a fractional id costs its entry, as A16."
            ),
            shows="`api.snapshot.rejected reason=bad_json`",
        ),
        Fault(
            "A16",
            fault=(
                "Entries that cannot be: addresses like `0.0.0.0`, loopback, link-local, multicast, "
                "`10.0.0.1/0`, `true`, `10`, mapped IPv6, a zone; names full of quotes, formats and "
                "commands"
            ),
            happens=(
                "What is no address never reaches the kernel. The entry is left out, nobody leaves for "
                "it, everybody else comes and goes; with more than 1 % of such entries (and more than "
                "one) the whole answer is refused. Names, tags and regions reach the log escaped and cut, "
                "and the kernel never."
            ),
            shows="`api.peer.skipped id=… reason=… entries=…`; `api.snapshot.rejected reason=many_skipped`",
        ),
        Fault(
            "A17",
            fault="A Droplet that is new and has no address yet",
            happens="It is counted and is no peer yet; no error.",
            shows="nothing but `peer.joined`",
        ),
        Fault(
            "A18",
            fault="GPU Droplets, which only their own list has",
            happens="Both lists are read, or the poll fails as A2.",
            shows="the count in `droplan status`",
        ),
        Fault(
            "A19",
            fault="More than 30 % of the fleet is gone in one honest answer",
            happens=(
                "Removals wait until three polls agree or the operator says `droplan accept`; additions go "
                "through at once."
            ),
            shows="`guard.shrink.held removed=… of=…`",
        ),
        Fault(
            "A21",
            fault="This Droplet's own id, region or VPC changes",
            happens="Everything is worked out anew; nobody is removed until it is confirmed.",
            shows="`identity.changed`",
        ),
        Fault(
            "A22",
            fault="Hundreds of Droplets ask in step",
            happens=(
                "Polls are spread by a fifth and stretched to the fleet's fair share of the token: four "
                "fifths of 5,000 requests an hour, over all Droplets. Who finds little left gives way."
            ),
            shows="`budget` in the status line and in `droplan status`",
        ),
    ),
)
