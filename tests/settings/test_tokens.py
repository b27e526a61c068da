"""The token: where it is found, what is refused, and that it is never shown."""

import copy
import dataclasses
import json
import pickle
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import ConfigInvalid
from droplan_daemon.settings import Token, describe, load
from droplan_daemon.settings.render import plain
from droplan_daemon.settings.tokens import TOKEN_FILE, find_token

if TYPE_CHECKING:
    from .conftest import Faults, Loading


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    return folder


def _revealed(token: Token | None) -> str | None:
    return token.reveal() if token else None


def test_the_first_way_that_is_there_counts(loaded: "Loading", credentials: Path, tmp_path: Path) -> None:
    """The systemd credential, else source.token_file, else DO_KEY; an empty DO_KEY is none."""
    token_file = tmp_path / "token"
    named = f"[source]\ntoken_file = '{token_file}'"
    environ = {"DO_KEY": "from-environment", "CREDENTIALS_DIRECTORY": str(credentials)}
    assert "from-environment" == _revealed(loaded("", environ, need_token=True).source.token)
    token_file.write_text("from-file")
    token_file.chmod(0o600)
    assert "from-file" == _revealed(loaded(named, environ, need_token=True).source.token)
    (credentials / "token").write_text("from-credential\n")
    assert "from-credential" == _revealed(loaded(named, environ, need_token=True).source.token)


def test_a_token_file_counts_from_the_configuration(loaded: "Loading", file: Path) -> None:
    """A relative token_file lies beside the configuration file."""
    (file.parent / "token").write_text("t0ken")
    assert "t0ken" == _revealed(loaded("[source]\ntoken_file = 'token'", need_token=True).source.token)


def test_how_to_renew_it_depends_on_the_way(loaded: "Loading", credentials: Path, tmp_path: Path) -> None:
    """A file needs a reload; a credential, which systemd copied, and a variable need another start."""
    (tmp_path / "token").write_text("t0ken")
    (credentials / "token").write_text("t0ken")
    given = {"CREDENTIALS_DIRECTORY": str(credentials)}
    ways: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
        ("[source]\ntoken_file = 'token'", {}, (f"into {tmp_path}/token", "reload")),
        ("", {"DO_KEY": "t0ken"}, ("DO_KEY", "start droplan again")),
        ("", given, ("systemd credential", "restart droplan")),
    )
    for text, environ, words in ways:
        renewal = loaded(text, environ, need_token=True).source.renewal
        assert [] == [word for word in words if word not in renewal]


def test_a_rotated_token_is_seen(loaded: "Loading", file: Path) -> None:
    """Each load reads the token file anew."""
    for secret in ("first", "second"):
        (file.parent / "token").write_text(secret)
        assert secret == _revealed(loaded("[source]\ntoken_file='token'", need_token=True).source.token)


def test_no_token_names_the_three_ways(faults: "Faults") -> None:
    """Without any token there is one Problem that says how to give one."""
    (problem,) = faults("", {"DO_KEY": ""}, need_token=True)
    assert "there is no token" in problem.message
    for way in ("credential", "source.token_file", "DO_KEY"):
        assert way in problem.hint


def test_no_token_is_looked_for_unless_needed(loaded: "Loading") -> None:
    """Offline commands read neither a token nor its file."""
    assert loaded("[source]\ntoken_file = '/nonexistent'", {"DO_KEY": "\n"}).source.token is None


@pytest.mark.parametrize("blank", ["\n", " ", "\r\n", "\t\n\n"])
def test_white_space_around_a_token_goes(loaded: "Loading", blank: str) -> None:
    """A line break at the end of a token is no part of it."""
    token = loaded("", {"DO_KEY": f"{blank}abc{blank}"}, need_token=True).source.token
    assert "abc" == _revealed(token)


REFUSED = [
    (b" \n", "is empty"),
    (b"SECRET\nSECRET", "line breaks or control characters"),
    (b"SECRET\x00", "line breaks or control characters"),
    (b"SECRET\x7f", "line breaks or control characters"),
    ("SECRETé".encode(), "not ASCII"),
    (b"SECRET\xff", "not ASCII"),
    (b"SECRET SECRET", "blanks inside"),
    (b"SECRET" * 1000, "longer than 4096 characters"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_what_cannot_be_a_header_is_refused_unseen(
    faults: "Faults", file: Path, data: bytes, message: str
) -> None:
    """A token that no header can carry is a Problem at its key that says why and not what."""
    (file.parent / "token").write_bytes(data)
    (problem,) = faults("[source]\ntoken_file = 'token'", need_token=True)
    assert ("source.token_file", 2, 14) == (problem.key, problem.line, problem.column)
    assert message in problem.message
    assert "SECRET" not in repr(problem)


@pytest.mark.parametrize("name", ["nonexistent", "folder"])
def test_a_token_file_that_cannot_be_read(faults: "Faults", file: Path, name: str) -> None:
    """A token file that is missing or a folder is a Problem; the next way is not tried."""
    (file.parent / "folder").mkdir()
    (problem,) = faults(f"[source]\ntoken_file = '{name}'", {"DO_KEY": "x"}, need_token=True)
    assert "the token file cannot be read" in problem.message


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_credential_is_none(
    loaded: "Loading", faults: "Faults", credentials: Path, blank: str
) -> None:
    """A service without a token gets one from its unit: the next way counts, or the ways are told."""
    (credentials / "token").write_text(blank)
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert "x" == _revealed(loaded("", {**environ, "DO_KEY": "x"}, need_token=True).source.token)
    (problem,) = faults("", environ, need_token=True)
    assert "there is no token for the DigitalOcean API" == problem.message
    assert problem.hint.startswith(f"put one that may read into {TOKEN_FILE} (mode 0600)")


def test_the_usual_file_is_the_last_way(tmp_path: Path) -> None:
    """What lies where the service has its token from is found by a person's command too, after all else."""
    usual, named = tmp_path / "usual", tmp_path / "named"
    assert find_token({}, None, usual).problem is not None
    for file in (usual, named):
        file.touch(mode=0o600)
        file.write_text(file.name)
    assert "usual" == _revealed(find_token({}, None, usual).token)
    assert "systemctl restart droplan" in find_token({}, None, usual).renewal
    assert "x" == _revealed(find_token({"DO_KEY": "x"}, None, usual).token)
    assert "named" == _revealed(find_token({}, named, usual).token)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_token_file_for_everybody_is_warned_about(
    loaded: "Loading", file: Path, mode: int, warned: int
) -> None:
    """A token file that others can read is a warning at its key."""
    (file.parent / "token").write_text("x")
    (file.parent / "token").chmod(mode)
    warnings = loaded("[source]\ntoken_file = 'token'", need_token=True).warnings
    assert [("source.token_file", 2)] * warned == [(w.key, w.line) for w in warnings]


def test_a_shadowed_do_key_is_warned_about(loaded: "Loading", file: Path) -> None:
    """DO_KEY beside a token file is ignored with a warning."""
    (file.parent / "token").touch(mode=0o600)
    (file.parent / "token").write_text("x")
    settings = loaded("[source]\ntoken_file = 'token'", {"DO_KEY": "y"}, need_token=True)
    assert ["DO_KEY is ignored, because source.token_file gives the token"] == [
        w.message for w in settings.warnings
    ]


@pytest.mark.fault("J5")
def test_a_token_does_not_show_itself(loaded: "Loading", canary: str) -> None:
    """Neither repr, str, format, JSON, asdict nor pickle gives the secret away; only reveal does."""
    settings = loaded("", {"DO_KEY": canary}, need_token=True)
    token = settings.source.token
    assert token is not None
    shown = [
        repr(settings),
        str(token),
        f"{token} {token!r}",
        json.dumps(dataclasses.asdict(settings), default=str),
    ]
    with pytest.raises(TypeError) as caught:
        pickle.dumps(token)
    assert canary not in "".join([*shown, str(caught.value)])
    assert canary == token.reveal()
    assert (token, hash(token)) == (Token(canary), hash(copy.deepcopy(token)))
    assert token != Token("another")
    assert token != canary


# Every way in which a secret can get into the wrong place of a file or an environment.
MISPLACED = [
    ("[source]\ntoken = '{}'", {}),
    ("token = '{}'", {}),
    ("[source]\ntoken_file = '{}'", {}),
    ("[source]\nca_file = '{}'", {}),
    ("[source]\nca_file = './{}'", {}),
    ("[source]\ntoken_file = '/tmp/{}'", {}),
    ("[source]\nkind = '{}'", {}),
    ("[source]\nurl = 'https://{}@api.digitalocean.com'", {}),
    ("[source]\nurl = 'http://{}'", {}),
    ("[peers]\ntag = '{} '", {}),
    ("[peers]\ntag = ['{}']", {}),
    ("mode = '{}'", {}),
    ("DO_KEY = '{}'", {}),
    ("{}", {}),
    ("{} = 1", {}),
    ("'{}' = 1", {}),
    ("[{}]", {}),
    ("a = 1\n[a.'{}']", {}),
    ("a = '{}", {}),
    ("a = '{}' b", {}),
    ("a = 1 # {}\na = 2 # {}", {}),
    ("token = {}", {}),
    ("token = '''\n{}'''", {}),
    ("a = {{'{}' = 1, '{}' = 2}}", {}),
    ("# {}\n\xff", {}),
    ("[log]\ndenied = '{}'", {}),
    ("[source]\ninterval = '{}'", {}),
    ("", {"DO_KEY": "{} {}"}),
    ("", {"DO_KEY": "{}\n{}"}),
    ("", {"DO_KEY": "é{}"}),
    ("", {"DO_KEY": "{}", "DO_TAG": "{} "}),
    ("", {"DO_KEY": "{}", "DO_INTERVAL": "{}"}),
    ("mode = 1", {"DO_KEY": "{}", "PUBLIC": "{}"}),
]


@pytest.mark.fault("J5")
@pytest.mark.parametrize(("text", "environ"), MISPLACED)
@pytest.mark.parametrize("maker", ["digitalocean", "hexadecimal"])
def test_a_token_in_the_wrong_place_is_never_shown(
    file: Path, canary: str, text: str, environ: dict[str, str], maker: str
) -> None:
    """Whatever mistake a token is part of, no Problem, excerpt, JSON, repr or traceback repeats it."""
    secret = canary if maker == "digitalocean" else canary.removeprefix("dop_v1_")
    file.write_bytes(text.replace("{{", "{").replace("}}", "}").replace("{}", secret).encode("latin-1"))
    held = {name: value.replace("{}", secret) for name, value in environ.items()}
    with pytest.raises(ConfigInvalid) as caught:
        load(file, held)
    error = caught.value
    problems = error.problems
    shown = [
        describe(file, problems),
        json.dumps(plain(str(file), problems)),
        repr(error),
        repr(problems),
        "".join(traceback.format_exception(error)),
        repr(error.__context__),
    ]
    assert secret not in "\n".join(shown)


SHORT = [
    "[source]\ntoken = 'hunter-2'",
    "[source]\ntoken_file = 'hunter-2'",
    "[source]\ntoken_file = ['hunter-2']",
    '[source]\ntoken_file = "hunter-2\\u0001"',
    "[source]\napi_secret = 'hunter-2'",
    "password = 'hunter-2' x",
    "[source]\nurl = 'https://me:hunter-2@api.example.net'",
    "mode = 'dop_v1_hunter-2'",
    "dop_v1_hunter-2",
]


@pytest.mark.fault("J5")
@pytest.mark.parametrize("text", SHORT)
def test_a_secret_under_its_name_is_never_shown(file: Path, text: str) -> None:
    """What stands under a key named for a secret, or in a URL's user, is masked however short it is."""
    file.write_text(text.replace("dop_v1_hunter-2", "dop_v1_hunter2"))
    with pytest.raises(ConfigInvalid) as caught:
        load(file, {})
    shown = describe(file, caught.value.problems) + repr(caught.value.problems)
    assert "hunter" not in shown


def test_a_token_in_place_of_its_file_is_recognised(faults: "Faults", canary: str) -> None:
    """A token as token_file is told as what it is, not as a file that does not exist."""
    (problem,) = faults(f"[source]\ntoken_file = '{canary}'", need_token=True)
    assert "must be the path of a file, not the secret itself" in problem.message


@pytest.mark.fault("J5")
def test_no_token_in_warnings(file: Path, canary: str) -> None:
    """Nor does a warning repeat one."""
    file.write_text("")
    settings = load(file, {"DO_KEY": canary, "PUBLIC": canary})
    assert settings.warnings
    assert canary not in describe(file, settings.warnings, label="warning: ") + repr(settings)


def test_an_unreadable_token_file(file: Path, nobody: None) -> None:
    """A token file that we may not read says how to let us."""
    problem = find_token({}, file).problem
    assert problem is not None
    assert "permission denied" in problem.message
    assert "chmod" in problem.hint
