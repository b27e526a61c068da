"""What we kept ourselves, as a disk may give it back: checkpoint, boot script, host file, what is held."""

import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.checkpoint import codec, doubts, script
from droplan_daemon.checkpoint.files import StateFiles
from droplan_daemon.checkpoint.sealed import seal, seal_json, unseal, unseal_json
from droplan_daemon.checkpoint.stances import read_stance, write_stance
from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.doubt import Absences
from droplan_daemon.model.stance import Stance
from tests.checkpoint.kept import big_checkpoint
from tests.fuzz.judging import check_fleet, check_refusal, check_set
from tests.fuzz.mutating import NASTY_TEXTS, json_changed, scramble, words_changed
from tests.fuzz.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from droplan_daemon.model.checkpoint import Checkpoint

_OLD, _NEW = big_checkpoint(3, 6), big_checkpoint(4, 7)
_SEALED = {kept.number: seal_json(codec.VERSION, codec.encode(kept)) for kept in (_OLD, _NEW)}
_WORDS = tuple(
    word.encode("utf-8", "replace") for word in (*NASTY_TEXTS, '"hosts"', '"ranges"', "[", "]", "null", ",")
)


def _body(data: bytes) -> bool:
    """As if a checksum were right by chance, or made by somebody."""
    try:
        found = codec.decode(data)
    except StoreFailed as error:
        check_refusal(error, "shape")
        return False
    assert found == codec.decode(codec.encode(found))
    check_fleet(found.fleet, ours=True)
    for made in found.ruleset.sets.values():
        check_set(made)
    return True


def _sealed(data: bytes) -> bool:
    """Whatever is not byte by byte what was sealed is refused, with a reason, before it is parsed."""
    try:
        body = unseal_json(data, codec.VERSION)
    except StoreFailed as error:
        check_refusal(error, "damaged", "version", "checksum")
        return False
    # Not "is one of ours": the fuzzer sees what is compared, and so learns how to seal.
    assert data == seal_json(codec.VERSION, body)
    return True


def _script(data: bytes) -> bool:
    try:
        found = script.parse(data)
    except StoreFailed as error:
        check_refusal(error, "damaged", "version", "checksum", "shape")
        return False
    title, told, rest = data.split(b"\n", 2)
    assert (b"# droplan ruleset 1", b"# sha256 " + sha256(rest).hexdigest().encode()) == (title, told)
    assert rest.decode().endswith(found.body)
    return True


def _scripts() -> list[bytes]:
    body = "table inet droplan {\n}\n"
    return [script.render(_NEW, body), script.render(_OLD, ""), script.render(_OLD, "é\n" + body)]


def _host(data: bytes) -> bool:
    """`host.json` with a right checksum."""
    Path("host.json").write_bytes(seal_json(1, data))
    found = _store().recall()
    if found is None:
        return False
    assert found.droplet_id > 0
    assert all(name is None or 1 <= len(name) <= 15 for name in (found.private, found.public))
    return True


def _store() -> StateFiles:
    return StateFiles(Path(), Path())


def _generations(data: bytes) -> bool:
    """The newest is damaged: it counts untouched or not at all, and then the one before it does."""
    current, previous = Path("checkpoint.json"), Path("checkpoint.1.json")
    current.write_bytes(data)
    if not previous.exists():
        previous.write_bytes(_SEALED[_OLD.number])
    found, meant = _store().recover().checkpoint, _meant(data)
    assert found == (meant if meant and meant.number >= _OLD.number else _OLD)
    assert _store().latest() >= _OLD.number
    return found != _OLD


def _meant(data: bytes) -> "Checkpoint | None":
    """What a file says by itself."""
    try:
        return codec.decode(unseal_json(data, codec.VERSION))
    except StoreFailed:
        return None


_NOTES: "tuple[Callable[[object], object], ...]" = (doubts.decode, doubts.words, doubts.read_heard)


def _doubts(data: bytes) -> bool:
    """What is held, what was accepted, when somebody answered: with a right checksum."""
    body, accepted = _json(data), False
    for read in _NOTES:
        try:
            found = read(body)
        except StoreFailed as error:
            check_refusal(error, "shape")
            continue
        accepted = True
        assert not isinstance(found, Absences) or found == doubts.decode(doubts.encode(found))
    return accepted


def _json(data: bytes) -> object:
    try:
        return unseal(seal_json(1, data), 1)
    except StoreFailed:
        return None


def _stance(data: bytes) -> bool:
    """`stance.json` with a right checksum: a stance, or a sentence that says what to do."""
    path = Path("stance.json")
    path.write_bytes(seal_json(1, data))
    try:
        found = read_stance(path)
    except StoreFailed as error:
        assert_told(error)
        return False
    write_stance(path, found)
    assert found == read_stance(path)
    return True


def assert_told(error: StoreFailed) -> None:
    assert str(error).isprintable()


def _bytes_only(data: bytes, random: "Random") -> bytes:
    return scramble(data, random, _WORDS)


def _bodies() -> list[bytes]:
    return [codec.encode(_NEW), codec.encode(big_checkpoint(1))]


_HOSTS = [
    b'{"droplet_id":1,"private":"eth1","public":null}',
    b'{"droplet_id":9,"private":null,"public":"ens3"}',
]


def _doubt_seeds() -> list[bytes]:
    held = doubts.encode(Absences({"private-peers-4": {b"\x0a\0\0\2": 1}, "fleet": {bytes(8): 0}}))
    heard = {"at": 1_800_000_000.5, "boot": "boot", "uptime": 60.0}
    return [json.dumps(body).encode() for body in (held, {"accepted": ["tag:web", "00ff"]}, heard)]


def _stances() -> list[bytes]:
    path, found = Path("stance.json"), []
    for stance in (
        Stance(),
        Stance().panicking(1.5),
        Stance().trying("/etc/x.toml", "ab" * 32, "cd" * 32, 9.5),
    ):
        write_stance(path, stance)
        found.append(unseal_json(path.read_bytes(), 1))
    return found


TARGETS = {
    "doubts": Target(_doubts, _doubt_seeds, json_changed, _WORDS, 1024),
    "stance": Target(_stance, _stances, json_changed, _WORDS, 1024),
    "checkpoint-body": Target(_body, _bodies, json_changed, _WORDS, 16_384),
    "checkpoint-file": Target(_sealed, lambda: list(_SEALED.values()), _bytes_only, _WORDS, 16_384),
    "boot-script": Target(
        _script, _scripts, words_changed(b"\n", [b"# sha256 0", b"# link a b", b"#"]), _WORDS
    ),
    "host-file": Target(_host, lambda: [*_HOSTS, seal(1, {})], json_changed, _WORDS, 512),
    "generations": Target(_generations, lambda: [_SEALED[_NEW.number]], _bytes_only, _WORDS, 16_384),
}
