"""What an operator writes: the policy file, selectors and the environment."""

from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import ConfigInvalid
from droplan_daemon.model.addresses import parse_address
from droplan_daemon.model.fleet import Droplet, Fleet, Vpc
from droplan_daemon.policy.pick import bounded
from droplan_daemon.policy.selector import SelectorError, parse
from droplan_daemon.policy.warnings import warnings
from droplan_daemon.safety import examine
from droplan_daemon.settings import describe, load
from droplan_daemon.settings.keys import keys, tables
from tests.fuzz.judging import HOST, check_ruleset, compiled
from tests.fuzz.mutating import NASTY_TEXTS, words_changed
from tests.fuzz.target import Target

if TYPE_CHECKING:
    from droplan_daemon.settings import Settings

_HOME = "760e09ef-dc84-11e8-981e-3cfdfeaae000"


def _droplet(number: int, name: str, *tags: str) -> Droplet:
    public = parse_address(f"203.0.113.{number}"), parse_address(f"2001:db8::{number:x}")
    return Droplet(number, name, tags, "nyc3", _HOME, (parse_address(f"10.10.0.{number}"),), public)


FLEET = Fleet(
    (_droplet(1, "web-1", "web"), _droplet(2, "web-2", "web"), _droplet(3, "db-1", "db", "env:prod")),
    (Vpc(_HOME, "home", "nyc3", "10.10.0.0/20"),),
    (),
    "https://api.example",
)

_TERMS = (
    "any",
    "all",
    "peers",
    "self",
    "vpc",
    "tag:web",
    "tag:",
    "name:web-*",
    "name:[",
    "id:1",
    "id:0",
    "region:nyc3",
    f"vpc:{_HOME}",
    "10.0.0.0/8",
    "10.0.0.1/8",
    "0.0.0.0/0",
    "::/0",
    "::ffff:0:0/96",
    "fe80::1%eth0",
    "127.0.0.1",
    "255.255.255.255",
    "and",
    "or",
    "not",
    "(",
    ")",
    "id:9223372036854775808",
    "name:*",
    "224.0.0.0/4",
    "2001:db8::/32",
)


def _selector(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    try:
        found = parse(text)
    except SelectorError as error:
        _check_mistake(error, text)
        return False
    assert found == parse(str(found))
    assert str(found) == str(parse(str(found)))
    assert bounded(found) in {True, False}
    return True


def _check_mistake(error: SelectorError, text: str) -> None:
    assert 1 <= error.column <= len(text) + 1
    assert len(str(error)) < 600


def _policy(data: bytes) -> bool:
    path = Path("droplan.toml")
    path.write_bytes(data)
    return _loaded(path, {})


def _environment(data: bytes) -> bool:
    lines = (line.partition("=") for line in data.decode("utf-8", "replace").replace("\0", "").splitlines())
    path = Path("empty.toml")
    path.touch()
    return _loaded(path, {name: value for name, _, value in lines})


def _loaded(path: Path, environ: dict[str, str]) -> bool:
    try:
        settings = load(path, environ, need_token=False)
    except ConfigInvalid as error:
        _check_problems(error, path)
        return False
    _compiled(settings)
    return True


def _check_problems(error: ConfigInvalid, path: Path) -> None:
    assert error.problems
    assert describe(path, error.problems).replace("\n", "").isprintable()


def _compiled(settings: "Settings") -> None:
    """Whatever is accepted makes a Ruleset that the kernel takes, with a warning or without."""
    desired = compiled(FLEET, settings.policy)
    if desired is None:
        return
    evidence = examine(settings.policy, FLEET, HOST, None)
    assert all(word.isprintable() for word in warnings(settings.policy, evidence.scene))
    check_ruleset(desired, peers=False)


_EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
_GOLDEN = Path(__file__).parents[2] / "golden"
_FULL = b"""mode = "enforce"
[source]
interval = "30s"
[peers]
scope = "account"
tag = "web"
[private]
managed = true
allow_peers = false
outbound = "drop"
[public]
managed = true
allow_peers = true
outbound = "accept"
[log]
denied = "60/minute"
[firewall]
backend = "nftables"
[[override]]
on = "name:db-*"
mode = "audit"
private = { outbound = "accept" }
[[allow]]
name = "ssh from the bastion"
on = "all"
from = ["name:web-1", "10.0.0.0/8", "not tag:db"]
ports = ["22/tcp", "8000-8100/udp", "icmp"]
interface = "private"
[[allow]]
on = "tag:web or tag:db"
to = "tag:db and not id:1"
ports = ["5432/tcp"]
"""


def _policies() -> list[bytes]:
    written = (*sorted(_EXAMPLES.glob("*/droplan.toml")), *sorted(_GOLDEN.glob("*/policy.toml")))
    return [_FULL, *(text for path in written if (text := path.read_bytes()))]


_ENVIRONMENTS = [
    b"DO_TAG=web\nDO_INTERVAL=60\nPUBLIC=true",
    b"PUBLIC=yes",
    b"DO_INTERVAL=1e3\nDO_TAG= a b\nDO_KEY=x",
]
_TEXTS = tuple(text.encode("utf-8", "replace") for text in NASTY_TEXTS)
_ENDS = (
    b'"',
    b"'",
    b'"""',
    b"=",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"#",
    b"\\",
    b"\r\n",
    b"9" * 5_000,
    b"1979-05-27",
    b"nan",
    b"0x1",
    b".",
)
_SELECTOR_WORDS = tuple(term.encode() for term in _TERMS)


def _lines() -> list[bytes]:
    """A line for each key with each sort of value, and each table's header."""
    values = (
        b'"1/minute"',
        b"true",
        b"-1",
        b'""',
        b'["22/tcp"]',
        b"[]",
        b"{}",
        b'"65536/tcp"',
        b"0.0",
        b'"off"',
        b'"1s"',
    )
    named = [key.name.rpartition(".")[2].encode() for key in keys()]
    return [
        *(name + b" = " + value for name in named for value in values),
        *(key.name.encode() + b" = " + key.example.encode() for key in keys() if key.example),
        *(table.header.encode() for table in tables().values()),
        *(b'on = "' + term + b'"' for term in _SELECTOR_WORDS),
        *(b'from = "' + term + b'"' for term in _SELECTOR_WORDS),
        *(b"name = '" + text.replace(b"'", b"") + b"'" for text in _TEXTS),
    ]


TARGETS = {
    "selector": Target(
        _selector,
        lambda: [b"tag:web and not name:canary-*", b"not (peers or self) and 10.0.0.0/8", b"any", b"(" * 60],
        words_changed(b" ", _SELECTOR_WORDS),
        (*_SELECTOR_WORDS, *_TEXTS),
        512,
    ),
    "policy-file": Target(
        _policy, _policies, words_changed(b"\n", _lines()), (*_SELECTOR_WORDS, *_ENDS, *_TEXTS)
    ),
    "environment": Target(
        _environment,
        lambda: _ENVIRONMENTS,
        words_changed(b"\n", [b"DO_TAG=", b"DO_INTERVAL=", b"PUBLIC=", b"PUBLIC=TRUE"]),
        _TEXTS,
        512,
    ),
}
