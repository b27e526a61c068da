"""Inputs out of inputs: as bytes, as JSON, as lines of words, as nested netlink attributes. PURE.

Law: the same Random gives the same bytes, so a seed repeats a run.
"""

import json
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

NASTY_NUMBERS = (-1, 0, 1, 2, 255, 65535, 65536, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400)
NASTY_ADDRESSES = (
    "0.0.0.0",
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "10.0.0.1/0",
    "10.0.0.256",
    "010.0.0.1",
    "10.0.1",
    "1",
    "0x7f000001",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "fe80::1%eth0",
    "fe80::1",
    "ff02::1",
    "2001:db8::1",
    "10.10.0.9",
    "203.0.113.9",
    " 10.0.0.1",
    "10.0.0.1\n",
    "\u0661.\u0661.\u0661.\u0661",
    "10.0.0.0/33",
    "0.0.0.0/0",
    "::/0",
    "192.168.0.0/16",
    "",
)
NASTY_TEXTS = (
    *NASTY_ADDRESSES,
    "a" * 300,
    "\x00",
    "\n",
    "\x1b[31m",
    "%s%n{0}",
    "'; drop",
    '"',
    "\\",
    "$(id)",
    "`id`",
    "../../etc/passwd",
    "\u202e",
    "\ud800",
    "é",
    "-",
    "--flush",
    "web",
    "*",
    "[",
    "self",
    "all",
    "any",
    "true",
    "NaN",
)
NASTY_VALUES: tuple[Any, ...] = (
    *NASTY_NUMBERS,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    True,
    False,
    None,
    [],
    {},
    [[]],
    {"a": {}},
    [None],
)


def scramble(data: bytes, random: "Random", words: "Sequence[bytes]" = ()) -> bytes:
    """A few changes of bytes: flipped, cut, repeated, put in."""
    changed = bytearray(data)
    for _ in range(1 << random.randrange(4)):
        at = random.randrange(len(changed) + 1)
        end = min(len(changed), at + (1 << random.randrange(8)))
        match random.randrange(7):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << random.randrange(8)
            case 1:
                changed[at:at] = random.randbytes(1 + random.randrange(8))
            case 2:
                del changed[at:end]
            case 3:
                changed[at:at] = changed[at:end]
            case 4 if words:
                changed[at:at] = random.choice(words)
            case 5:
                del changed[at:]
            case _ if changed:
                changed[at % len(changed)] = random.randrange(256)
    return bytes(changed)


def json_changed(data: bytes, random: "Random") -> bytes:
    """JSON with a few values replaced, dropped, doubled or moved; bytes that are none are scrambled."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return scramble(data, random)
    for _ in range(1 << random.randrange(3)):
        value = _value_changed(value, random)
    if not random.randrange(40):
        return _deep(random)
    return _odd_json(json.dumps(value, ensure_ascii=bool(random.randrange(2))), random)


def _deep(random: "Random") -> bytes:
    deep = random.choice((50, 1_000, 100_000))
    return random.choice((b"[", b'{"droplets":', b'{"a":')) * deep


def _odd_json(text: str, random: "Random") -> bytes:
    """What a program that writes JSON never would."""
    match random.randrange(30):
        case 0:
            text = text.replace(":", ": \n", 1 + random.randrange(3))
        case 1:
            text = text.replace("{", '{"id":1,', 1 + random.randrange(3))
        case 2:
            text = text.replace("1", "1" * 5_000, 1)
        case 3:
            text = text.replace('"n', '"\\u006e')
        case 4:
            text += text[: random.randrange(len(text) + 1)]
        case 5:
            text = "\ufeff" + text
    return text.encode("utf-8", "surrogatepass")


def _value_changed(value: Any, random: "Random") -> Any:
    """A copy with one change somewhere in it."""
    if isinstance(value, dict) and value and random.randrange(8):
        return _object_changed(value, random)
    if isinstance(value, list) and value and random.randrange(8):
        return _array_changed(value, random)
    match random.randrange(4):
        case 0:
            return random.choice(NASTY_VALUES)
        case 1 if isinstance(value, int) and not isinstance(value, bool):
            return value + random.choice((-1, 1, 256, -256, 65536))
        case 2 if isinstance(value, str):
            return scramble(value.encode("utf-8", "replace"), random).decode("utf-8", "replace")
        case _:
            return random.choice(NASTY_TEXTS)


def _object_changed(value: dict[Any, Any], random: "Random") -> dict[Any, Any]:
    key, changed = random.choice(list(value)), dict(value)
    match random.randrange(8):
        case 0:
            del changed[key]
        case 1:
            changed[random.choice(NASTY_TEXTS)] = changed.pop(key)
        case 2:
            changed[key], other = changed[random.choice(list(value))], changed[key]
            changed[random.choice(list(value))] = other
        case _:
            changed[key] = _value_changed(value[key], random)
    return changed


def _array_changed(value: list[Any], random: "Random") -> list[Any]:
    at, changed = random.randrange(len(value)), list(value)
    match random.randrange(8):
        case 0:
            del changed[at]
        case 1:
            changed.insert(random.randrange(len(value) + 1), changed[at])
        case 2:
            random.shuffle(changed)
        case 3:
            changed *= random.choice((0, 2, 5))
        case _:
            changed[at] = _value_changed(value[at], random)
    return changed


def words_changed(separator: bytes, words: "Sequence[bytes]") -> "Callable[[bytes, Random], bytes]":
    """Text whose parts are dropped, doubled, swapped or replaced by other words of its language."""

    def change(data: bytes, random: "Random") -> bytes:
        parts = data.split(separator)
        for _ in range(1 << random.randrange(3)):
            at = random.randrange(len(parts))
            match random.randrange(6):
                case 0:
                    parts.insert(at, random.choice(words))
                case 1:
                    parts[at] = random.choice(words)
                case 2 if len(parts) > 1:
                    del parts[at]
                case 3:
                    parts.insert(at, random.choice(parts))
                case 4:
                    parts[at] = scramble(parts[at], random, words)
                case _:
                    other = random.randrange(len(parts))
                    parts[at], parts[other] = parts[other], parts[at]
        return separator.join(parts)

    return change


_ATTR = struct.Struct("=HH")


def attributes_changed(skip: int) -> "Callable[[bytes, Random], bytes]":
    """Netlink attributes after so many bytes of a fixed part: one of them, at any depth, changed."""

    def change(data: bytes, random: "Random") -> bytes:
        found = list(_attributes(data[skip:]))
        if not found or not random.randrange(6):
            return scramble(data, random)
        for _ in range(1 << random.randrange(3)):
            _attribute_changed(found, random)
        return data[:skip] + b"".join(_attribute(kind, body) for kind, body in found)

    return change


def _attributes(data: bytes) -> "Iterator[tuple[int, bytes]]":
    offset = 0
    while offset + _ATTR.size <= len(data):
        length, kind = _ATTR.unpack_from(data, offset)
        if length < _ATTR.size or offset + length > len(data):
            return
        yield kind, data[offset + _ATTR.size : offset + length]
        offset += (length + 3) & ~3


def _attribute(kind: int, body: bytes) -> bytes:
    body = body[: 0xFFFF - _ATTR.size]
    return _ATTR.pack(_ATTR.size + len(body), kind) + body + bytes(-len(body) % 4)


def _attribute_changed(found: list[tuple[int, bytes]], random: "Random") -> None:
    if not found:
        return
    at = random.randrange(len(found))
    kind, body = found[at]
    match random.randrange(8):
        case 0:
            del found[at]
        case 1:
            found.insert(at, found[random.randrange(len(found))])
        case 2:
            found[at] = random.randrange(24) | (kind & 0x8000), body
        case 3:
            number = random.choice(NASTY_NUMBERS[:9])
            found[at] = kind, (number & (1 << 64) - 1).to_bytes(8, "big")[-random.choice((1, 2, 4, 8)) :]
        case 4:
            found[at] = kind, scramble(body, random)
        case _:
            inner = list(_attributes(body))
            if sum(4 + (len(part) + 3 & ~3) for _, part in inner) == len(body) and inner:
                _attribute_changed(inner, random)
                found[at] = kind, b"".join(_attribute(*one) for one in inner)
            else:
                found[at] = kind, scramble(body, random)
