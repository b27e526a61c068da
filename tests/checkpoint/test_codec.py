"""A Checkpoint is read back as it was written, and nothing else is read at all."""

import json
import os
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.checkpoint import codec
from droplan_daemon.checkpoint.sealed import seal_json, unseal_json
from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.checkpoint import Checkpoint, age, is_stale
from tests.checkpoint.kept import big_checkpoint, checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable

MUTATIONS = 100_000 if os.environ.get("DROPLAN_TEST_FULL") else 10_000
SMALL = big_checkpoint(3, 7)


@given(checkpoints)
def test_what_is_encoded_is_decoded(checkpoint: Checkpoint) -> None:
    """Every part comes back equal, and the number is known before anything is decoded."""
    body = codec.encode(checkpoint)
    assert checkpoint == codec.decode(body)
    assert checkpoint.number == codec.number_of(body)


def test_what_droplets_share_is_there_once() -> None:
    """Rows without keys: at most 80 bytes for a Droplet and its place in the set."""
    small, big = (len(codec.encode(big_checkpoint(count))) for count in (1, 1001))
    assert (big - small) / 1000 < 80
    decoded = codec.decode(codec.encode(big_checkpoint(2)))
    first, second = decoded.fleet.droplets
    assert first.tags is second.tags
    assert first.vpc is second.vpc


def test_ten_thousand_droplets_are_quick() -> None:
    """A guard of the bars (save 300 ms, load 500 ms): five times as long on a busy machine."""
    checkpoint = big_checkpoint(10_000)
    begun = time.process_time()
    body = codec.encode(checkpoint)
    encoded = time.process_time()
    assert checkpoint == codec.decode(body)
    assert encoded - begun < 1.5
    assert time.process_time() - encoded < 2.5


@pytest.mark.fault("E5")
def test_any_damage_is_noticed() -> None:
    """Bits, bytes, cuts and repeats, so many of them: StoreFailed or, untouched, the same."""
    sealed = seal_json(codec.VERSION, codec.encode(SMALL))
    dice = random.Random(1)
    for _ in range(MUTATIONS):
        damaged = _mutated(sealed, dice)
        found = _answer(partial(_read, damaged))
        assert (sealed, SMALL) == (damaged, found) or found in ("damaged", "version", "checksum")


@pytest.mark.fault("E5")
def test_any_damage_below_the_checksum_is_noticed_too() -> None:
    """Whoever seals nonsense gets StoreFailed(shape) or a Checkpoint, never another exception."""
    body = codec.encode(SMALL)
    dice = random.Random(2)
    for _ in range(MUTATIONS // 5):
        found = _answer(partial(codec.decode, _mutated(body, dice)))
        assert "shape" == found or isinstance(found, Checkpoint)


def _read(sealed: bytes) -> Checkpoint:
    return codec.decode(unseal_json(sealed, codec.VERSION))


def _answer(read: "Callable[[], Checkpoint]") -> Checkpoint | str:
    """What it gives, or the reason why not."""
    try:
        return read()
    except StoreFailed as error:
        return error.reason


def _mutated(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    match dice.randrange(5):
        case 0:
            return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + dice.randbytes(dice.randrange(1, 9)) + data[at:]
        case 3:
            return data[:at] + data[at + dice.randrange(1, 9) :]
    return data[:at] + dice.choice([b"null", b"[]", b"{}", b"-1", b"1e999", b"true", b'""']) + data[at + 1 :]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in _places(one, (*path, key)))]


TREE = json.loads(codec.encode(SMALL))
PLACES = _places(TREE)[1:]


@pytest.mark.fault("E6")
@given(st.sampled_from(PLACES), _json)
def test_a_value_of_another_kind_is_noticed(place: tuple[Any, ...], value: Any) -> None:
    """Any JSON in any place: a Checkpoint that can be written again as it was read, or StoreFailed."""
    tree = json.loads(json.dumps(TREE))
    at = tree
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    found = _answer(lambda: codec.decode(json.dumps(tree).encode()))
    if isinstance(found, Checkpoint):
        assert found == codec.decode(codec.encode(found))
    else:
        assert "shape" == found


@pytest.mark.parametrize("place", ["saved_at", "uptime"])
def test_a_moment_of_400_digits_is_no_moment(place: str) -> None:
    """JSON has whole numbers that no float holds: the shape is wrong, and nothing else happens."""
    body = json.dumps({**TREE, place: 10**400}).encode()
    assert "shape" == _answer(partial(codec.decode, body))


def test_an_address_that_no_droplet_has_is_not_read() -> None:
    """A checkpoint that somebody sealed with a peer at 127.0.0.1 opens no door."""
    body = codec.encode(SMALL).replace(b'"100.64.0.2"', b'"127.0.0.1"', 1)
    assert "shape" == _answer(partial(codec.decode, body))


@pytest.mark.fault("E6")
def test_a_newer_version_is_refused_as_that() -> None:
    """After a downgrade the reason is the version, and the sentence says which two."""
    with pytest.raises(StoreFailed) as caught:
        unseal_json(seal_json(2, b'{"anything":1}'), 1)
    assert "version" == caught.value.reason
    assert "newer" in str(caught.value)
    assert "version 2" in str(caught.value)


AGES = [
    ("same boot, by the monotonic clock", "boot", 160.0, 0.0, 100.0),
    ("same boot, the wall clock was set back", "boot", 70.0, 5.0, 10.0),
    ("another boot, by the wall clock", "other", 5.0, 1_800_003_600.5, 3600.0),
    ("another boot, the clock at 1970", "other", 5.0, 30.0, None),
    ("another boot, the clock went backwards", "other", 5.0, 1_799_999_999.0, None),
    ("no boot id", "", 160.0, 1_800_000_010.5, 10.0),
    ("a boot id that came again", "boot", 1.0, 1_800_000_010.5, 10.0),
]


@pytest.mark.fault("E9", "F2")
@pytest.mark.parametrize(("case", "boot", "uptime", "now", "expected"), AGES)
def test_an_age_is_told_only_where_a_clock_can(
    case: str, boot: str, uptime: float, now: float, expected: float | None
) -> None:
    """Within one boot the monotonic clock, across boots a wall clock that makes sense, else nobody."""
    assert expected == age(SMALL, boot=boot, uptime=uptime, now=now)


@pytest.mark.fault("E9")
def test_a_month_is_stale() -> None:
    """A day is not, more is, and an unknown age may be anything."""
    assert [False, True, True] == [is_stale(86_400.0), is_stale(30 * 86_400.0), is_stale(None)]


@pytest.mark.fault("F2")
def test_a_checkpoint_saved_before_the_clock_was_set_has_no_age() -> None:
    """Saved at 1970, read in the right year: not 50 years old, but unknown."""
    early = Checkpoint(SMALL.host, (), SMALL.fleet, SMALL.ruleset, "nftables", 1, 45.0, "boot", 40.0)
    assert age(early, boot="other", uptime=1.0, now=1_800_000_000.0) is None
