"""What has to be done to come from the old droplan, as printable data. Pure.

Laws:
1. Steps are ordered so that each may be undone while a later one fails, and so that nothing of the old
   program runs any more when its chains go.
2. What is configured already is never overwritten, unless it says nothing that would be lost.
3. `str(step)` is a line for a person, and holds no secret.
"""

import difflib
import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .chains import Leftovers
from .finding import Told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from droplan_daemon.settings import Token

    from .finding import Crontab, Found
    from .places import Container

CONFIG = Path("/etc/droplan/droplan.toml")
BESIDE = "token"
"""The token's file, in the same folder."""

DISABLED = ".disabled~"
"""Ends the name of a file that cron and systemd then ignore: Debian's cron takes no dot in a name, and
CentOS's (cronie) takes every name but those that end with `~`."""


@dataclass(frozen=True, slots=True)
class WriteToken:
    """The token, for root alone."""

    path: Path
    token: "Token"

    def __str__(self) -> str:
        return f"write the token to {self.path}, for root alone"


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """The configuration; `replaces`: what stands there says nothing that this does not say."""

    path: Path
    text: str
    replaces: bool = False

    def __str__(self) -> str:
        kept = f"; the present one is kept as {self.path}.droplan-bak" if self.replaces else ""
        return f"write {self.path}{kept}"


@dataclass(frozen=True, slots=True)
class StopTimer:
    """A timer of systemd's that starts the old program."""

    unit: str

    def __str__(self) -> str:
        return f"stop and disable {self.unit}"


@dataclass(frozen=True, slots=True)
class DisableFile:
    """A file that starts the old program gets a name that nobody reads; only root may read it then."""

    path: Path

    @property
    def aside(self) -> Path:
        """Its new name."""
        return self.path.with_name(self.path.name + DISABLED)

    def __str__(self) -> str:
        return f"rename {self.path} to {self.aside}, where it starts nothing any more"


@dataclass(frozen=True, slots=True)
class DisableLines:
    """Lines (0-based) of a crontab that has other jobs as well are made comments, without the token."""

    path: Path
    lines: tuple[int, ...]
    token: "Token | None" = None

    def __str__(self) -> str:
        many = "line" if len(self.lines) == 1 else "lines"
        return f"make {many} {', '.join(str(line + 1) for line in self.lines)} of {self.path} a comment"


@dataclass(frozen=True, slots=True)
class StopContainer:
    """A container of the old program, which is kept but neither runs nor starts."""

    container: "Container"

    def __str__(self) -> str:
        return f"stop the container {self.container.name}, and let it not start again"


@dataclass(frozen=True, slots=True)
class MoveChainsAside:
    """Other names for the old chains, since the new program's have the same; no verdict changes."""

    variant: str
    leftovers: Leftovers

    def __str__(self) -> str:
        chains = ", ".join(self.leftovers.chains)
        return f"rename the old chains of {self.variant} ({chains}), which go on judging"


@dataclass(frozen=True, slots=True)
class Commit:
    """The new rules, read back from the kernel."""

    backend: str

    def __str__(self) -> str:
        return f"put the new rules into the kernel ({self.backend}), beside the old ones, and read them back"


@dataclass(frozen=True, slots=True)
class RemoveChains:
    """The old rules and chains, in one transaction."""

    variant: str
    leftovers: Leftovers

    def __str__(self) -> str:
        chains, rules = ", ".join(self.leftovers.chains), len(self.leftovers.rules)
        return f"remove the old chains of {self.variant} ({chains}) and {rules} rules beside them"


@dataclass(frozen=True, slots=True)
class CleanRules:
    """A file of rules that would bring the old chains back at the next boot."""

    path: Path
    leftovers: Leftovers

    def __str__(self) -> str:
        return f"take the old chains out of {self.path}, which would bring them back at the next boot"


@dataclass(frozen=True, slots=True)
class SaveRules:
    """The new chains, where the host's rules are restored from."""

    def __str__(self) -> str:
        return "save the host's rules where they are restored at boot, if they are"


Step = (
    WriteToken
    | WriteConfig
    | StopTimer
    | DisableFile
    | DisableLines
    | StopContainer
    | MoveChainsAside
    | Commit
    | RemoveChains
    | CleanRules
    | SaveRules
)


@dataclass(frozen=True, slots=True)
class Migration:
    """The steps in order; `cautions` are sentences about what is left to a person."""

    steps: tuple[Step, ...] = ()
    cautions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)


def migration(
    found: "Found",
    kernel: "Mapping[str, Leftovers]",
    backend: str,
    config: Path = CONFIG,
    token_file: Path | None = None,
) -> Migration:
    """What to do; `kernel` is what each variant of iptables holds, `backend` what the new rules go into.

    An empty `backend` leaves the kernel out: another machine's disk is looked at. `token_file` is how the
    configuration names the token's file, when that is not where it is written.
    """
    old = {variant: left for variant, left in kernel.items() if left}
    told = _as_enforced(leading(found), (*old.values(), *(left for _, left in found.rules)))
    if not (found.told or found.crontabs or found.units or found.containers or found.rules or old):
        return Migration(cautions=tuple(_doubts(kernel)))
    steps = (
        *_token(found, config),
        *_config(found, told, config, token_file or config.with_name(BESIDE)),
        *_stopping(found),
        *(CleanRules(path, left) for path, left in found.rules),
        *(_kernel(old, backend) if backend else ()),
    )
    done = all(isinstance(step, Commit) for step in steps)  # only what a daemon does in any case
    unsaid = (_UNSAID,) if told.public and not leading(found).public else ()
    cautions = (*_cautions(found, config), *unsaid, *_doubts(kernel))
    return Migration(() if done else steps, cautions, tuple(dict.fromkeys(_sources(found, old))))


def _sources(found: "Found", old: "Mapping[str, Leftovers]") -> "Iterator[str]":
    yield from (str(told.origin) for told in found.told)
    yield from (str(path) for path, _ in found.rules)
    yield from (f"{', '.join(left.chains)} of {variant}" for variant, left in old.items())


def _token(found: "Found", config: Path) -> "Iterator[Step]":
    token = leading(found).token or found.given
    if token is not None and found.token is None:
        yield WriteToken(config.with_name(BESIDE), token)


def _as_enforced(told: Told, left: "Iterable[Leftovers]") -> Told:
    """Its chains guard the public interface, whoever forgot to say so: that must not end with them."""
    return replace(told, public=told.public or any(one.public for one in left))


def _config(found: "Found", told: Told, config: Path, token_file: Path) -> "Iterator[Step]":
    text = configuration(told, token_file)
    if found.config is None or _says_less(found.config, text):
        yield WriteConfig(config, text, replaces=found.config is not None)


def _stopping(found: "Found") -> "Iterator[Step]":
    for path in found.units:
        if path.suffix == ".timer":
            yield StopTimer(path.name)
    yield from (DisableFile(path) for path in found.units)
    yield from (_stopped(crontab, leading(found).token) for crontab in found.crontabs)
    yield from map(StopContainer, found.containers)


def _stopped(crontab: "Crontab", token: "Token | None") -> Step:
    return DisableFile(crontab.path) if crontab.whole else DisableLines(crontab.path, crontab.lines, token)


def _kernel(old: "Mapping[str, Leftovers]", backend: str) -> "Iterator[Step]":
    if backend == "iptables":
        yield from (MoveChainsAside(variant, left) for variant, left in old.items())
    yield Commit(backend)
    yield from (RemoveChains(variant, left) for variant, left in old.items())
    if backend == "iptables":
        yield SaveRules()


def leading(found: "Found") -> Told:
    """What the old program was told, where several places say something: the first that gave it a token."""
    return next((told for told in found.told if told.token), found.told[0] if found.told else Told())


def configuration(told: Told, token_file: Path) -> str:
    """The file that says what the old program was told."""
    lines = [
        "# What the old droplan was told, in the words of the new one (droplan migrate).",
        "",
        "[source]",
    ]
    lines.append(f'token_file = "{token_file}"')
    if told.interval.isascii() and told.interval.isdigit() and 1 <= int(told.interval) <= _DAY:
        lines.append(f'interval = "{int(told.interval)}s"  # DO_INTERVAL')
    if told.tag or told.public:
        lines += ["", "[peers]"]
    if told.public:  # the old program let in the public addresses of the whole account
        lines.append('scope = "account"  # PUBLIC=true meant every Droplet of the account')
    if told.tag:
        lines.append(f"tag = {json.dumps(told.tag)}  # DO_TAG")
    if told.public:
        lines += ["", "[public]  # PUBLIC=true", "managed = true", "allow_peers = true"]
    return "\n".join(lines) + "\n"


_DAY = 86_400
_UNSAID = (
    "the old chains guard the public interface, as with PUBLIC=true, though nothing says so any more: "
    "that is kept"
)


def difference(found: "Found", config: Path = CONFIG) -> str:
    """What the present configuration says otherwise than the old program was told; empty: nothing."""
    text = configuration(leading(found), config.with_name(BESIDE))
    if found.config is None or not found.told or _meaning(found.config) == _meaning(text):
        return ""
    lines = difflib.unified_diff(
        found.config.splitlines(), text.splitlines(), str(config), "as the old droplan was told", lineterm=""
    )
    return "\n".join(lines)


def _says_less(present: str, text: str) -> bool:
    """Whether everything that the present file says is in the new text, and not the reverse."""
    old, new = _meaning(present), _meaning(text)
    if old is None or new is None or old == new:
        return False
    return all(name in new and table.items() <= new[name].items() for name, table in old.items())


def _meaning(text: str) -> "dict[str, dict[str, object]] | None":
    """The sections of a file; None where it is none, or says more than the old program could be told."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    return found if all(isinstance(table, dict) for table in found.values()) else None


def _cautions(found: "Found", config: Path) -> "Iterator[str]":
    for told in found.told:
        for name in told.unknown:
            yield f"{told.origin} takes {name} from a command, which is not run: set it in {config} yourself"
    yield from _conflicts(found.told)
    if found.token and any(told.token and told.token != found.token for told in found.told):
        yield f"{config.with_name(BESIDE)} is not the token that the old droplan had; it is left as it is"
    if not (found.token or found.given or leading(found).token):
        place = config.with_name(BESIDE)
        yield f"there is no token: write one to {place}, or start again with DO_KEY in the environment"
    if found.token is None and found.crontabs:
        yield "the token stood in a file that others may have read: make a new one, and put it into its place"
    if found.firewalld:
        yield (
            "firewalld is enabled; it is left alone, but may drop what droplan lets in: "
            "disable it (systemctl disable --now firewalld), or put the interfaces into its zone trusted"
        )


def _conflicts(told: "tuple[Told, ...]") -> "Iterator[str]":
    for name, values in (
        ("DO_KEY", {one.token for one in told if one.token}),
        ("DO_TAG", {one.tag for one in told}),
        ("PUBLIC", {one.public for one in told}),
    ):
        if len(values) > 1:
            places = ", ".join(dict.fromkeys(str(one.origin) for one in told))
            yield f"{name} is not the same everywhere ({places}); what stands first counts"


def _doubts(kernel: "Mapping[str, Leftovers]") -> "Iterator[str]":
    for variant, left in kernel.items():
        yield from (f"{variant}: {doubt}" for doubt in left.doubts)
