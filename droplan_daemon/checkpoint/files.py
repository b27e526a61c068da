"""The Store: which file holds what, and which of two generations counts.

In the state folder: `checkpoint.json`, `ruleset.nft` or `ruleset.iptables` for boot, the generation
before each of them with `.1` in its name, `host.json`, `doubts.json` while something is held,
`heard.json` where it matters for how long nobody has answered, and
`stance.json` once the operator said something to hold for a while. In the
runtime folder: `status.json`, and `accept.json` until what the operator accepted was acted on.

Laws:
1. Of two generations that verify the higher number counts; no clock is asked.
2. The Checkpoint is written before the script. Killed between the two, boot loads the older ruleset
   and the daemon, starting from the newer Checkpoint, goes forward from it.
3. A generation that does not verify takes no good one's place.
4. Scripts of another backend go away after those of this one are durable.
"""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from droplan_daemon.errors import StoreFailed
from droplan_daemon.model.doubt import Absences
from droplan_daemon.model.host import Host

from . import codec, doubts, script
from .atomic import read_whole, remove, write_atomic, write_generation
from .sealed import seal, seal_json, to_json, unseal, unseal_json
from .stances import read_stance, write_stance
from .values import maybe, number, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from droplan_daemon.model.checkpoint import Checkpoint, Heard
    from droplan_daemon.model.stance import Stance

_STATUS_MODE = 0o640
_HOST_VERSION = 1

ENDINGS = {"nftables": "nft", "iptables": "iptables"}
"""The ending of a boot script's name, by backend."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The Checkpoint that counts, and why a newer generation does not (empty: there is none)."""

    checkpoint: "Checkpoint"
    rejected: tuple[StoreFailed, ...] = ()


class StateFiles:
    """The Store of these two folders."""

    def __init__(self, state_folder: "Path", runtime_folder: "Path") -> None:
        self._folder = state_folder
        self._host = state_folder / "host.json"
        self._checkpoints = state_folder / "checkpoint.json", state_folder / "checkpoint.1.json"
        self._doubts = state_folder / "doubts.json"
        self._heard = state_folder / "heard.json"
        self._status = runtime_folder / "status.json"
        self._accepted = runtime_folder / "accept.json"

    def scripts(self, backend: str) -> "tuple[Path, Path]":
        """Where the boot script of this backend is, and the generation before it."""
        ending = ENDINGS[backend]
        return self._folder / f"ruleset.{ending}", self._folder / f"ruleset.1.{ending}"

    def save(self, checkpoint: "Checkpoint", body: str) -> None:
        """Keep the Checkpoint, and `body` as the boot script. Raises StoreFailed."""
        try:
            sealed = seal_json(codec.VERSION, codec.encode(checkpoint))
        except ValueError as error:
            raise StoreFailed(f"the checkpoint cannot be written: {error}", reason="shape") from error
        current, previous = self._checkpoints
        write_generation(current, sealed, previous, whole=_seals)
        current, previous = self.scripts(checkpoint.backend)
        write_generation(current, script.render(checkpoint, body), previous, whole=_verifies)
        for other in ENDINGS.keys() - {checkpoint.backend}:
            for path in self.scripts(other):
                remove(path)

    def load(self) -> "Checkpoint":
        """The Checkpoint that counts. Raises StoreFailed, which says what was tried (`missing`: none yet)."""
        return self.recover().checkpoint

    def recover(self) -> Recovered:
        """The same, and which generation was passed over. Raises StoreFailed."""
        rejected: list[StoreFailed] = []
        found: list[tuple[int, Path, bytes]] = []
        for path in self._checkpoints:
            try:
                body = unseal_json(read_whole(path), codec.VERSION)
            except StoreFailed as error:
                if error.reason != "missing" or path == self._checkpoints[0] or rejected:
                    rejected.append(_named(path, error))  # a first save has no generation before it
            else:
                found.append((codec.number_of(body), path, body))
        found.sort(key=lambda generation: -generation[0])
        for _, path, body in found:
            try:
                checkpoint = codec.decode(body)
            except StoreFailed as error:
                rejected.append(_named(path, error))
            else:
                return Recovered(checkpoint, tuple(rejected))
        raise _nothing(rejected)

    def latest(self) -> int:
        """The highest number of anything on disk that verifies; 0 when there is nothing."""
        return max((0, *self._numbers()))

    def holds(self, checkpoint: "Checkpoint") -> bool:
        """Whether this very Checkpoint and its boot script are on disk, and verify."""
        try:
            body = unseal_json(read_whole(self._checkpoints[0]), codec.VERSION)
            kept = script.parse(read_whole(self.scripts(checkpoint.backend)[0]))
        except StoreFailed:
            return False
        return {checkpoint.number} == {codec.number_of(body), kept.number}

    def retire(self) -> bool:
        """Remove the boot scripts, so that the next boot restores nothing; whether there were any.

        Raises StoreFailed.
        """
        paths = [path for backend in ENDINGS for path in self.scripts(backend)]
        removed = [remove(path) for path in paths]
        return any(removed)

    def remember(self, host: Host) -> None:
        """Keep what we learned about ourselves for the next start, unless it is kept. Raises StoreFailed."""
        if self.recall() == replace(host, learned="state"):
            return
        body = {"droplet_id": host.droplet_id, "private": host.private, "public": host.public}
        write_atomic(self._host, seal(_HOST_VERSION, body))

    def recall(self) -> Host | None:
        """The Host remembered last; None when there is none that can be used (see `read_host`)."""
        try:
            return self.read_host()
        except StoreFailed:
            return None

    def read_host(self) -> Host:
        """The Host remembered last. Raises StoreFailed, which says why there is none (ENOENT: not yet)."""
        body = unseal(read_whole(self._host), _HOST_VERSION)
        try:
            return _read_host(body)
        except (ValueError, TypeError, LookupError):
            raise StoreFailed(f"{self._host} has an unknown shape", reason="shape") from None

    def absences(self) -> "Absences":
        """What was held; nothing when none was kept, or none that can be used: then it is counted anew."""
        try:
            return self.read_absences()
        except StoreFailed:
            return Absences()

    def read_absences(self) -> Absences:
        """What was held. Raises StoreFailed (`missing`: nothing is)."""
        return doubts.decode(unseal(read_whole(self._doubts), doubts.VERSION))

    def keep_absences(self, absences: "Absences") -> None:
        """Keep what is held; nothing is kept by removing the file. Raises StoreFailed.

        What cannot be written does not leave the counts of before: they would count answers as agreeing
        that others came between. Without any it is counted anew.
        """
        if not absences:
            remove(self._doubts)
            return
        try:
            write_atomic(self._doubts, seal(doubts.VERSION, doubts.encode(absences)))
        except StoreFailed:
            with suppress(StoreFailed):
                remove(self._doubts)
            raise

    def heard(self) -> "Heard | None":
        """When somebody answered last; None when that is not known."""
        try:
            return doubts.read_heard(unseal(read_whole(self._heard), doubts.VERSION))
        except StoreFailed:
            return None

    def keep_heard(self, heard: "Heard") -> None:
        """Keep when somebody answered last. Raises StoreFailed."""
        write_atomic(self._heard, seal(doubts.VERSION, asdict(heard)))

    def accept(self, words: frozenset[str]) -> None:
        """Tell whoever runs the next cycle what the operator accepts. Raises StoreFailed."""
        write_atomic(self._accepted, seal(doubts.VERSION, {"accepted": sorted(words)}), durable=False)

    def accepted(self) -> frozenset[str]:
        """What the operator accepted and nobody has acted on yet."""
        try:
            return doubts.words(unseal(read_whole(self._accepted), doubts.VERSION))
        except StoreFailed:
            return frozenset()

    def settle(self, accepted: frozenset[str]) -> None:
        """It was acted on; what was accepted since then is not. Raises StoreFailed."""
        if self.accepted() == accepted:
            remove(self._accepted)

    def stance(self) -> "Stance":
        """What the operator has said to hold for a while; nothing if nothing was said. Raises StoreFailed."""
        return read_stance(self._folder / "stance.json")

    def take_stance(self, stance: "Stance") -> None:
        """Keep what the operator says. Raises StoreFailed."""
        write_stance(self._folder / "stance.json", stance)

    def publish(self, status: "Mapping[str, Any]") -> None:
        """What `droplan status` shows. Raises StoreFailed."""
        write_atomic(self._status, to_json(status) + b"\n", _STATUS_MODE, durable=False)

    def read_status(self) -> dict[str, Any]:
        """What was published last. Raises StoreFailed (ENOENT: nothing yet, or no daemon since boot)."""
        data = read_whole(self._status)
        try:
            status = json.loads(data)
        except (ValueError, RecursionError):
            status = None
        if not isinstance(status, dict):
            raise StoreFailed(f"{self._status} is damaged", reason="damaged")
        return status

    def _numbers(self) -> "Iterator[int]":
        for path in self._checkpoints:
            yield _number(path, lambda data: codec.number_of(unseal_json(data, codec.VERSION)))
        for backend in ENDINGS:
            for path in self.scripts(backend):
                yield _number(path, lambda data: script.parse(data).number)


def _number(path: "Path", read: Callable[[bytes], int]) -> int:
    try:
        return read(read_whole(path))
    except StoreFailed:
        return 0


def _seals(data: bytes) -> bool:
    try:
        unseal_json(data, codec.VERSION)
    except StoreFailed:
        return False
    return True


def _verifies(data: bytes) -> bool:
    try:
        script.parse(data)
    except StoreFailed:
        return False
    return True


def _named(path: "Path", error: StoreFailed) -> StoreFailed:
    """The error, with the file in its sentence."""
    told = str(error)
    sentence = told if told.startswith(str(path)) else f"{path}: {told}"
    return StoreFailed(sentence, errno=error.errno, reason=error.reason)


def _nothing(rejected: list[StoreFailed]) -> StoreFailed:
    """One error for all that was tried; what is damaged says more than what is missing."""
    worst = next((error for error in rejected if error.reason != "missing"), rejected[0])
    return StoreFailed("; ".join(map(str, rejected)), errno=worst.errno, reason=worst.reason)


# What the kernel accepts: dev_valid_name in net/core/dev.c.
_INTERFACE = re.compile(r"(?!\.{1,2}$)[^/\s\x00-\x1f:]{1,15}")


def _read_host(body: object) -> Host:
    if not isinstance(body, dict) or body.keys() != {"droplet_id", "private", "public"}:
        raise ValueError("other keys")
    names = maybe(_interface, body["private"]), maybe(_interface, body["public"])
    return Host(number(body["droplet_id"], 1), *names, learned="state")


def _interface(name: object) -> str:
    found = text(name)
    if not _INTERFACE.fullmatch(found):
        raise ValueError("no interface's name")
    return found
