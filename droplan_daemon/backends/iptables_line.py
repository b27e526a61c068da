"""One rule of iptables as a value, and as the text that iptables-save prints of it. PURE.

Laws:
1. `read(written(chain, line)) == (chain, line)`, and what iptables-save prints of it reads the same.
2. What this value cannot say reads as None: nothing of a rule is ever passed over.
3. A rule of ours has a comment that begins with `droplan `; no other is taken for ours.

Source: iptables-save(8), iptables-extensions(8); libxt_limit.c for how a rate is printed.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from droplan_daemon.model.addresses import Family, family_of, format_address, format_element, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK = "droplan "
"""What the comment of every rule of ours begins with."""

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_SIMPLE = re.compile(r"[A-Za-z0-9_.:/@%^,=+-]+", re.ASCII)
_COUNTERS = re.compile(r"\[(\d+):(\d+)\] ")
_MODULES = frozenset({"comment", "conntrack", "icmp", "icmp6", "iprange", "limit", "set", "tcp", "udp"})
_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "icmpv6": 58}
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp"}
_BURST = 5  # XT_LIMIT_BURST

Span = tuple[int, int]


class UnreadableError(ValueError):
    """A rule that `Line` cannot say."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a rule looks at and where it leads.

    `target` is ACCEPT, DROP, RETURN, LOG or a chain (`goto`: without a way back); empty: it only
    counts. `side` is `src` or `dst`: which address `set` (as the kernel names it) or `range` (first
    and last address) is about. `original` is the destination port before any DNAT. `states` are
    those of `--ctstate`, turned round by `other_states`; `limit` is as iptables-save prints it.
    """

    target: str = ""
    comment: str = ""
    goto: bool = False
    inbound: str = ""
    outbound: str = ""
    side: str = ""
    set: str = ""
    range: bytes = b""
    protocol: int = 0
    source: Span | None = None
    destination: Span | None = None
    original: Span | None = None
    icmp: int | None = None
    states: frozenset[str] = frozenset()
    other_states: bool = False
    reply: bool = False
    limit: str = ""
    burst: int = _BURST
    prefix: str = ""

    @property
    def ours(self) -> bool:
        """Whether it carries our mark."""
        return self.comment.startswith(MARK)


def written(chain: str, line: Line) -> str:
    """`-A CHAIN …`, as iptables-restore takes it."""
    return " ".join(("-A", chain, *specification(line)))


def specification(line: Line) -> "Iterator[str]":
    """The words after the chain's name."""
    yield from _basics(line)
    yield from _ports(line)
    if line.states or line.reply or line.original:
        yield from _connection(line)
    if line.limit:
        yield f"-m limit --limit {line.limit}"
        if line.burst != _BURST:
            yield f"--limit-burst {line.burst}"
    if line.comment:
        yield f"-m comment --comment {quoted(line.comment)}"
    if line.target:
        yield f"-{'g' if line.goto else 'j'} {line.target}"
    if line.prefix:
        yield f"--log-prefix {quoted(line.prefix)}"


def _basics(line: Line) -> "Iterator[str]":
    prefix = _prefix(line.range)
    if prefix:
        yield f"-{line.side[0]} {prefix}"
    if line.inbound:
        yield f"-i {quoted(line.inbound)}"
    if line.outbound:
        yield f"-o {quoted(line.outbound)}"
    if line.protocol:
        yield f"-p {_NAMES.get(line.protocol, line.protocol)}"
    if line.set:
        yield f"-m set --match-set {line.set} {line.side}"
    if line.range and not prefix:
        half = len(line.range) // 2
        first, last = format_address(line.range[:half]), format_address(line.range[half:])
        yield f"-m iprange --{line.side}-range {first}-{last}"


def _ports(line: Line) -> "Iterator[str]":
    if line.source or line.destination:
        yield f"-m {_NAMES[line.protocol]}"
    if line.source:
        yield f"--sport {_span(line.source)}"
    if line.destination:
        yield f"--dport {_span(line.destination)}"
    if line.icmp is not None:
        plain = line.protocol == _NUMBERS["icmp"]
        yield f"-m icmp --icmp-type {line.icmp}" if plain else f"-m icmp6 --icmpv6-type {line.icmp}"


def _connection(line: Line) -> "Iterator[str]":
    yield "-m conntrack"
    if line.states:
        yield f"{'! ' if line.other_states else ''}--ctstate {','.join(sorted(line.states, reverse=True))}"
    if line.original:
        yield f"--ctorigdstport {_span(line.original)}"
    if line.reply:
        yield "--ctdir REPLY"


def _span(span: Span) -> str:
    first, last = span
    return str(first) if first == last else f"{first}:{last}"


def quoted(text: str) -> str:
    """A word as iptables-save writes it."""
    if _SIMPLE.fullmatch(text):
        return text
    return '"' + re.sub(r"([\"\\'])", r"\\\1", text) + '"'


def _prefix(packed: bytes) -> str:
    """`10.0.0.1/32`; empty for no range, for one that is no prefix, and for all addresses."""
    half = len(packed) // 2
    if not packed:
        return ""
    family = family_of(packed[:half])
    text = format_element(packed, family)
    if "-" in text or text.endswith("/0"):
        return ""
    return text if "/" in text else f"{text}/{family.width * 8}"


def counted(text: str) -> tuple[int, int, str]:
    """Packets and bytes before a line of `iptables-save -c`, and the line without them."""
    found = _COUNTERS.match(text)
    if found is None:
        return 0, 0, text
    return int(found[1]), int(found[2]), text[found.end() :]


def read(text: str) -> tuple[str, Line | None]:
    """The chain and the rule of a line `-A CHAIN …`; the rule None where it cannot be said."""
    words = [_unescaped(found[1]) if found[1] is not None else found[2] for found in _TOKEN.finditer(text)]
    chain, rest = "".join(words[1:2]), words[2:]
    try:
        return chain, _line(rest)
    except (UnreadableError, ValueError, IndexError):
        return chain, None


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text


def _line(words: list[str]) -> Line:
    found: dict[str, object] = {}
    at = 0
    while at < len(words):
        if words[at] == "-m" and words[at + 1] in _MODULES:
            at += 2
            continue
        turned = words[at] == "!"
        at += turned
        taken, fields = _option(words[at], words[at + 1 :], turned=turned)
        if any(
            found.get(key, value) != value or key != "side" for key, value in fields.items() if key in found
        ):
            raise UnreadableError(words[at])
        found |= fields
        at += 1 + taken
    return Line(**found)  # type: ignore[arg-type]


def _option(option: str, words: list[str], *, turned: bool) -> tuple[int, dict[str, object]]:
    """How many words an option takes, and the fields that it gives. Raises UnreadableError."""
    if option == "--ctstate":
        return 1, {"states": frozenset(words[0].split(",")), "other_states": turned}
    if turned or (option not in _OPTIONS and option != "--match-set"):
        raise UnreadableError(option)
    if option == "--match-set":
        return 2, {"set": words[0], "side": words[1]}
    return 1, _OPTIONS[option](words[0])


def _numbers(text: str) -> Span:
    first, _, last = text.partition(":")
    return int(first), int(last or first)


def _network(side: str, text: str) -> dict[str, object]:
    net = ip_network(text)
    return {"range": net.network_address.packed + net.broadcast_address.packed, "side": side}


def _between(side: str, text: str) -> dict[str, object]:
    first, _, last = text.partition("-")
    family = Family.IPV6 if ":" in text else Family.IPV4
    return {"range": parse_address(first, family) + parse_address(last, family), "side": side}


def _protocol(text: str) -> int:
    return _NUMBERS[text] if text in _NUMBERS else int(text)


def _direction(text: str) -> bool:
    if text != "REPLY":
        raise UnreadableError(text)
    return True


_OPTIONS: "dict[str, Callable[[str], dict[str, object]]]" = {
    "-s": lambda text: _network("src", text),
    "-d": lambda text: _network("dst", text),
    "--src-range": lambda text: _between("src", text),
    "--dst-range": lambda text: _between("dst", text),
    "-i": lambda text: {"inbound": text},
    "-o": lambda text: {"outbound": text},
    "-p": lambda text: {"protocol": _protocol(text)},
    "--sport": lambda text: {"source": _numbers(text)},
    "--dport": lambda text: {"destination": _numbers(text)},
    "--ctorigdstport": lambda text: {"original": _numbers(text)},
    "--icmp-type": lambda text: {"icmp": int(text)},
    "--icmpv6-type": lambda text: {"icmp": int(text)},
    "--ctdir": lambda text: {"reply": _direction(text)},
    "--limit": lambda text: {"limit": text},
    "--limit-burst": lambda text: {"burst": int(text)},
    "--comment": lambda text: {"comment": text},
    "-j": lambda text: {"target": text},
    "-g": lambda text: {"target": text, "goto": True},
    "--log-prefix": lambda text: {"prefix": text},
}
