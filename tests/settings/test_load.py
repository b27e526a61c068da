"""One frozen Settings from file and environment; and every mistake at once, in one sentence each."""

import dataclasses
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.errors import ConfigInvalid
from droplan_daemon.model.policy import (
    BackendName,
    Firewall,
    InterfacePolicy,
    Mode,
    Peers,
    Policy,
    Rate,
    Scope,
    Unit,
)
from droplan_daemon.settings import Folders, Key, SourceKind, environment, keys, load
from droplan_daemon.settings.keys import tables
from droplan_daemon.settings.loading import _validated

if TYPE_CHECKING:
    from .conftest import Faults, Loading

WHOLE = """
mode = "audit"

[source]
kind = "digitalocean"
url = "https://api.example.net/"
metadata_url = "http://127.0.0.1:8080"
interval = "1m30s"

[peers]
scope = "region"
tag = "Prod:Web_1-a"

[private]
managed = true
allow_peers = false
outbound = "accept"

[public]
managed = true
allow_peers = true
outbound = "accept"

[log]
denied = "5/second"

[firewall]
backend = "nftables"
ipset = false
"""


def test_an_empty_file_is_the_old_droplan(loaded: "Loading") -> None:
    """Without a word in the file, the peers of my VPC reach me on the private interface."""
    settings = loaded("")
    assert Policy() == settings.policy
    assert ("https://api.digitalocean.com", "http://169.254.169.254", 30.0) == (
        settings.source.url,
        settings.source.metadata_url,
        settings.source.interval,
    )
    assert (Folders(), ()) == (settings.folders, settings.warnings)


def test_every_key_arrives(loaded: "Loading") -> None:
    """What the file says stands in the Settings, in plain values."""
    settings = loaded(WHOLE)
    assert (
        Policy(
            mode=Mode.AUDIT,
            peers=Peers(Scope.REGION, "prod:web_1-a"),
            private=InterfacePolicy(managed=True, allow_peers=False),
            public=InterfacePolicy(managed=True, allow_peers=True),
            denied_log=Rate(5, Unit.SECOND),
            firewall=Firewall(BackendName.NFTABLES, ipset=False),
        )
        == settings.policy
    )
    assert (SourceKind.DIGITALOCEAN, "https://api.example.net", 90.0) == (
        settings.source.kind,
        settings.source.url,
        settings.source.interval,
    )


def test_settings_are_frozen(loaded: "Loading") -> None:
    """Nobody changes a reading of the configuration."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded("").source.interval = 1.0  # type: ignore[misc]


def test_a_file_source_needs_no_token(loaded: "Loading", file: Path) -> None:
    """With kind = "file" the path counts from the folder of the configuration, and no token is missed."""
    settings = loaded('[source]\nkind = "file"\npath = "fleet.json"', need_token=True)
    assert (file.parent / "fleet.json", None) == (settings.source.path, settings.source.token)


# Text of the file, and of its only Problem: key:line:column, part of the message, part of the hint.
MISTAKES = [
    (
        "alow_peers = 1",
        "alow_peers:1:1",
        "unknown key `alow_peers`",
        "did you mean `allow_peers` in [private]",
    ),
    (
        "[private]\n alow_peers = true",
        "private.alow_peers:2:2",
        "unknown key `alow_peers` in [private]",
        "did you mean `allow_peers`?",
    ),
    (
        "allow_peers = true",
        "allow_peers:1:1",
        "unknown key `allow_peers`",
        "it belongs in [private] or in [public]",
    ),
    (
        "[peers]\nmode = 'audit'",
        "peers.mode:2:1",
        "unknown key `mode`",
        "it belongs before the first section",
    ),
    ("[privat]\nmanaged = 1", "privat:1:2", "unknown section [privat]", "did you mean [private]?"),
    ("[zzz]", "zzz:1:2", "unknown section [zzz]", "known: source, peers"),
    (
        "[private]\nzzz = 1",
        "private.zzz:2:1",
        "unknown key `zzz`",
        "known here: managed, allow_peers, outbound",
    ),
    ("[source]\ntoken = 'x'", "source.token:2:1", "unknown key `token`", "a file of its own"),
    ("mode = 'enforc'", "mode:1:8", 'must be "enforce" or "audit", not "enforc"', 'did you mean "enforce"?'),
    ("mode = true", "mode:1:8", 'must be "enforce" or "audit", not true', ""),
    ("[peers]\nscope = 'VPC'", "peers.scope:2:9", 'not "VPC"', 'did you mean "vpc"?'),
    ("[peers]\ntag = 'a b'", "peers.tag:2:7", "must be the name of a tag", ""),
    ("[peers]\ntag = ''", "peers.tag:2:7", "must be the name of a tag", ""),
    ("[peers]\ntag = '" + "a" * 256 + "'", "peers.tag:2:7", "must be the name of a tag", ""),
    (
        "[private]\nmanaged = 'yes'",
        "private.managed:2:11",
        'must be true or false, not "yes"',
        "write `managed = true`",
    ),
    (
        "[private]\nmanaged = 0",
        "private.managed:2:11",
        "must be true or false, not 0",
        "write `managed = false`",
    ),
    ("[public]\nmanaged = [1]", "public.managed:2:11", "must be true or false, not an array", ""),
    (
        "private = 3",
        "private:1:11",
        "`private` must be a table, not 3",
        "write [private] on a line of its own",
    ),
    (
        "[[private]]\nmanaged = true",
        "private:1:3",
        "`private` must be a table, not an array",
        "write [private]",
    ),
    ("[source]\ninterval = 30", "source.interval:2:12", "must be a duration in quotes", '`interval = "30s"`'),
    ("[source]\ninterval = true", "source.interval:2:12", "must be a duration in quotes", ""),
    ("[source]\ninterval = '30 s'", "source.interval:2:12", 'not "30 s"', ""),
    ("[source]\ninterval = '300'", "source.interval:2:12", 'not "300"', '`interval = "300s"`'),
    ("[source]\ninterval = '-5s'", "source.interval:2:12", "must be a duration", ""),
    ("[source]\ninterval = '0s'", "source.interval:2:12", "must be between 100ms and 24h", ""),
    ("[source]\ninterval = '2d'", "source.interval:2:12", "must be between 100ms and 24h", ""),
    ("[source]\ninterval = 1979-05-27", "source.interval:2:12", "not a date or time", ""),
    (
        "[source]\nurl = 'http://api.example.net'",
        "source.url:2:7",
        "may use http only to a loopback address",
        "write https://",
    ),
    (
        "[source]\nurl = 'http://169.254.169.254'",
        "source.url:2:7",
        "may use http only to a loopback address",
        "",
    ),
    (
        "[source]\nurl = 'http://127.0.0.1.example.net'",
        "source.url:2:7",
        "may use http only to a loopback",
        "",
    ),
    ("[source]\nurl = 'ftp://api.example.net'", "source.url:2:7", "must be a URL", ""),
    (
        "[source]\nurl = 'api.digitalocean.com'",
        "source.url:2:7",
        "must be a URL",
        "https://api.digitalocean.com",
    ),
    ("[source]\nurl = 'https://x:99999'", "source.url:2:7", "must be a URL", ""),
    ("[source]\nurl = 'https://[::1'", "source.url:2:7", "must be a URL", ""),
    ('[source]\nurl = "https://a.example\\n.net"', "source.url:2:7", "must be a URL", ""),
    ("[source]\nurl = 'https://me:pw@api.example.net'", "source.url:2:7", "must not hold a user", ""),
    ("[source]\nurl = 'https://api.example.net?x=1'", "source.url:2:7", "must not hold a query", ""),
    (
        "[source]\nmetadata_url = 'http://10.0.0.1'",
        "source.metadata_url:2:16",
        "link-local",
        "write https://",
    ),
    ("[source]\ntoken_file = ''", "source.token_file:2:14", "must be the path of a file", ""),
    ("[source]\nca_file = 7", "source.ca_file:2:11", "must be the path of a file, in quotes, not 7", ""),
    ("[source]\nkind = 'file'", "source.kind:2:1", "needs `source.path`", "add `path = "),
    ("[source]\nca_file = '/nonexistent.pem'", "source.ca_file:2:11", "cannot be read: no such file", "PEM"),
    ("[source]\nca_file = '/dev/null'", "source.ca_file:2:11", "holds no certificate in PEM form", "PEM"),
    ("[log]\ndenied = '60/min'", "log.denied:2:10", "must be a rate such as", 'did you mean "60/minute"?'),
    ("[log]\ndenied = '0/minute'", "log.denied:2:10", "must have a count between 1 and 1,000,000", '"off"'),
    ("[log]\ndenied = false", "log.denied:2:10", "must be a rate such as", ""),
    (
        "[private]\noutbound = 'dorp'",
        "private.outbound:2:12",
        'must be "accept" or "drop", not "dorp"',
        'did you mean "drop"?',
    ),
    (
        "[firewall]\nbackend = 'iptable'",
        "firewall.backend:2:11",
        'must be "auto", "nftables" or "iptables", not "iptable"',
        'did you mean "iptables"?',
    ),
]


@pytest.mark.parametrize(("text", "where", "message", "hint"), MISTAKES)
def test_a_mistake_says_where_what_and_what_would_be_right(
    faults: "Faults", text: str, where: str, message: str, hint: str
) -> None:
    """One mistake is one Problem: its key, line and column, a sentence, and what to write instead."""
    (problem,) = faults(text)
    assert where == f"{problem.key}:{problem.line}:{problem.column}"
    assert message in problem.message
    assert hint in problem.hint


def test_a_certificate_that_nothing_can_read_is_a_mistake(faults: "Faults", file: Path) -> None:
    """TLS itself is asked, so that a damaged `ca_file` does not look like an API in trouble."""
    (file.parent / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (problem,) = faults("[source]\nca_file = 'ca.pem'")
    assert "`source.ca_file` holds a certificate that cannot be read" == problem.message


def test_all_mistakes_are_found_at_once_in_the_order_of_the_file(faults: "Faults") -> None:
    """Unknown keys, wrong types, contradictions and the environment: one reading tells them all."""
    text = "mod = 1\n[source]\nkind = 'file'\ninterval = 3\n[private]\nmanaged = 'no'\n[[allow]]\n"
    problems = faults(text, {"DO_INTERVAL": "soon"})
    assert ["mod", "source.kind", "source.interval", "private.managed", "allow", "DO_INTERVAL"] == [
        problem.key for problem in problems
    ]


def test_a_doubtful_key_is_not_judged_twice(faults: "Faults") -> None:
    """A path that is wrong by itself is not also said to be missing."""
    assert ["source.path"] == [p.key for p in faults("[source]\nkind = 'file'\npath = 5")]


UNREADABLE = [
    (b'mode = "caf\xe9"', 1, 12, "is not UTF-8 text: byte 0xe9"),
    ("# ü\n\nx = '".encode() + b"\xff'", 3, 6, "is not UTF-8 text: byte 0xff"),
    ("mode = 'audit'".encode("utf-16"), 1, 1, "is not UTF-8 text: byte 0xff"),
    (b"a = 1\na = 2\n", 2, 6, "this is not TOML: cannot overwrite a value"),
    (b"mode = ", 1, 8, "this is not TOML: invalid value"),
    (b"x = [1,\n 2", 2, 3, "this is not TOML: unclosed array"),
    (b"x = 1\r\n\r\n\r\n= 2", 4, 1, "this is not TOML"),
    (b"x = \x00", 1, 5, "this is not TOML"),
    (b"x = " + b"9" * 5000, None, None, "this is not TOML: a number is too long"),
    (b"x = " + b"[" * 5000, None, None, "nested too deeply"),
    (b"#" * ((1 << 20) + 1), None, None, "longer than 1,048,576 bytes"),
]


@pytest.mark.parametrize(("data", "line", "column", "message"), UNREADABLE)
def test_a_file_that_is_no_toml_says_where(
    faults: "Faults", data: bytes, line: int | None, column: int | None, message: str
) -> None:
    """Bad bytes and bad syntax are one Problem with the place, and no other is guessed from it."""
    (problem,) = faults(data, need_token=True)
    assert (line, column) == (problem.line, problem.column)
    assert message in problem.message


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfmode = 'audit'\r\n", b"mode = 'audit'", b"mode='audit'\r\n# x\r\n"]
)
def test_marks_and_line_ends_of_other_editors_do_no_harm(loaded: "Loading", data: bytes) -> None:
    """A byte order mark and CR LF are read over."""
    assert loaded(data).policy.mode is Mode.AUDIT


def test_a_named_file_must_exist_and_the_default_one_need_not(tmp_path: Path) -> None:
    """A missing file is a mistake exactly when somebody named it."""
    missing = tmp_path / "none.toml"
    with pytest.raises(ConfigInvalid) as caught:
        load(missing, {}, need_token=False)
    assert ["the file does not exist"] == [p.message for p in caught.value.problems]
    assert Policy() == load(missing, {}, need_token=False, must_exist=False).policy


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder in place of the file is told so."""
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, {}, need_token=False)
    assert ["this is a folder, not a file"] == [p.message for p in caught.value.problems]


def test_what_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    """A socket, or a name with a NUL, is a Problem and no exception of another kind."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        for path in (tmp_path / "s", Path("a\0b")):
            with pytest.raises(ConfigInvalid) as caught:
                load(path, {}, need_token=False)
            assert "the file cannot be read" in caught.value.problems[0].message


def test_a_file_without_permission(file: Path, nobody: None) -> None:
    """A file that we may not read says how to let us."""
    with pytest.raises(ConfigInvalid) as caught:
        load(file, {}, need_token=False)
    assert "may not be read" in caught.value.problems[0].message


CAUTIONS = [
    (
        "[public]\nallow_peers = true",
        "public.allow_peers",
        2,
        "has no effect while `public.managed` is false",
    ),
    ("[public]\nmanaged = true", "public.managed", 2, "nobody is let in by the public interface"),
    ("[private]\nallow_peers = false", "private.managed", 1, "nobody is let in by the private interface"),
    ("[private]\nmanaged = false", "private.managed", 2, "nothing is protected"),
    ("[source]\npath = '/x'", "source.path", 2, "has no effect"),
    ("[source]\nkind='file'\npath='/x'\nurl='https://x'", "source.url", 4, "has no effect"),
    (
        "[peers]\ntag = 'x'\n[private]\nmanaged = false",
        "peers",
        1,
        "has no effect while no managed interface",
    ),
]


@pytest.mark.parametrize(("text", "key", "line", "message"), CAUTIONS)
def test_what_works_but_cannot_be_meant_is_a_warning(
    loaded: "Loading", text: str, key: str, line: int, message: str
) -> None:
    """Keys that cancel each other out, or lock everybody out, are warnings with a place."""
    warning = next(w for w in loaded(text).warnings if w.key == key)
    assert line == warning.line
    assert message in warning.message


DROPPING = "[private]\noutbound = 'drop'\n"
PORTS_OF_OUR_OWN = [
    ("[source]\nurl = 'https://api.example:8443'", ["source.url"]),
    ("[source]\nmetadata_url = 'http://169.254.169.254:8080'", ["source.metadata_url"]),
    ("[source]\nmetadata_url = 'http://169.254.0.1'", ["source.metadata_url"]),
    (
        "[source]\nurl = 'https://api.example:8443'\n[[allow]]\non = 'all'\nto = 'any'\nports = ['8443/tcp']",
        [],
    ),
    ("[source]\nurl = 'https://api.example'\nmetadata_url = 'https://metadata.example'", []),
    ("[source]\nurl = 'http://127.0.0.1:8443'\nmetadata_url = 'http://localhost:8080'", []),
    ("[source]\nurl = 'https://api.example:8443'\nkind = 'file'\npath = '/x'", []),
]


@pytest.mark.parametrize(("text", "expected"), PORTS_OF_OUR_OWN)
def test_a_port_that_droplan_itself_needs_is_asked_for(
    loaded: "Loading", text: str, expected: list[str]
) -> None:
    """Where outbound traffic is dropped, an API at a port that no lifeline or rule opens is a warning."""
    for policy, found in ((DROPPING, expected), ("", [])):
        warnings = [w for w in loaded(policy + text).warnings if "no lifeline opens port" in w.message]
        assert found == [warning.key for warning in warnings]


def test_defaults_written_out_are_no_warning(loaded: "Loading") -> None:
    """A file that says every default is as quiet as an empty one, and means the same."""
    lines = ["mode = 'enforce'"]
    for table in tables().values():
        if not table.several:
            lines.append(table.header)
            lines += [f"{_leaf(k)} = {k.default}" for k in keys() if k.section == table.name and k.default]
    written = loaded("\n".join(lines))
    assert loaded("") == replace(written, digest=loaded("").digest)  # which is that of its text


def _leaf(key: Key) -> str:
    return key.name.rpartition(".")[2]


def test_every_key_is_described() -> None:
    """Each key of the schema has words for its form and a sentence for its meaning."""
    for key in keys():
        assert key.words
        assert key.meaning.endswith((".", "`"))
        assert bool(key.element) is key.words.startswith(
            ("a list", 'a selector, such as "tag:web", or a list')
        )


def test_the_folders_are_systemds(loaded: "Loading") -> None:
    """STATE_DIRECTORY and RUNTIME_DIRECTORY decide, the first of several."""
    environ = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a"}
    assert Folders(Path("/var/lib/a"), Path("/run/a")) == loaded("", environ).folders


def test_the_environment_is_this_processs_unless_given(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment handed in, the process's own is read, anew at each load."""
    file.touch()
    for seconds in ("77", "78"):
        monkeypatch.setenv("DO_INTERVAL", seconds)
        assert float(seconds) == load(file, need_token=False).source.interval
    assert environment()["DO_INTERVAL"] == "78"


LEAF = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2)
)
NAMES = st.sampled_from(
    sorted({part for key in keys() for part in key.name.split(".")} | {"allow", "override", "x"})
)
TABLE = st.dictionaries(NAMES, LEAF | st.dictionaries(NAMES, LEAF, max_size=2), max_size=4)
RULE = st.fixed_dictionaries(
    {},
    optional={
        "on": LEAF | st.sampled_from(["all", "any", "tag:web"]),
        "from": LEAF | st.sampled_from(["any", ["tag:web", "tag:"], "not 10.0.0.1", []]),
        "to": LEAF | st.just("vpc"),
        "ports": LEAF | st.sampled_from([["80/tcp", 80], ["icmp"]]),
        "x": LEAF,
    },
)
SEVERAL = st.lists(LEAF | TABLE | RULE, max_size=3)
DATA = st.dictionaries(NAMES, LEAF | TABLE | SEVERAL, max_size=5) | st.fixed_dictionaries(
    {}, optional={"allow": SEVERAL, "override": SEVERAL}
)


@given(DATA)
def test_whatever_is_wrong_the_rest_stands(data: dict[str, Any]) -> None:
    """Of any data at all the valid part makes a File, so that every other check can still run."""
    file, errors = _validated(data)
    assert bool(errors) or file.model_fields_set == set(data)


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_at_all_are_settings_or_config_invalid(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Whatever the file holds, the worst is ConfigInvalid with at least one Problem, each a sentence."""
    path = tmp_path_factory.mktemp("any") / "droplan.toml"
    path.write_bytes(data)
    error = _error_of(path)
    assert error is None or error.problems
    assert all(problem.message.isprintable() for problem in (error.problems if error else ()))


def _error_of(path: Path) -> ConfigInvalid | None:
    try:
        load(path, {}, need_token=False)
    except ConfigInvalid as error:
        return error
    return None
