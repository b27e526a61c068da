"""The environment variables of the old droplan, beside the file."""

from typing import TYPE_CHECKING

import pytest

from droplan_daemon.model.policy import InterfacePolicy

if TYPE_CHECKING:
    from .conftest import Faults, Loading


def test_the_old_variables_mean_what_they_meant(loaded: "Loading") -> None:
    """DO_TAG, DO_INTERVAL and PUBLIC=true are tag, interval and a public interface for peers only."""
    settings = loaded("", {"DO_TAG": "Web", "DO_INTERVAL": " 300 ", "PUBLIC": "TRUE"})
    assert ("web", 300.0, InterfacePolicy(managed=True, allow_peers=True), ()) == (
        settings.policy.peers.tag,
        settings.source.interval,
        settings.policy.public,
        settings.warnings,
    )


OVERRULED = [
    ("[peers]\ntag = 'db'", {"DO_TAG": "web"}, "peers.tag", "DO_TAG is ignored"),
    ("[source]\ninterval = '10s'", {"DO_INTERVAL": "300"}, "source.interval", "DO_INTERVAL is ignored"),
    ("[public]\nmanaged = false", {"PUBLIC": "true"}, "public.managed", "PUBLIC is ignored"),
    ("[public]\nallow_peers = false", {"PUBLIC": "true"}, "public.allow_peers", "PUBLIC is ignored"),
]


@pytest.mark.parametrize(("text", "environ", "key", "message"), OVERRULED)
def test_the_file_wins_and_says_so(
    loaded: "Loading", text: str, environ: dict[str, str], key: str, message: str
) -> None:
    """Where both say something the file counts, and a warning names the variable and the line."""
    settings = loaded(text, environ)
    assert settings.policy == loaded(text).policy
    assert settings.source == loaded(text).source
    (warning,) = (w for w in settings.warnings if message in w.message)
    assert (key, 2) == (warning.key, warning.line)


def test_agreement_is_no_warning(loaded: "Loading") -> None:
    """A variable that says what the file says is not worth a word."""
    assert () == loaded("[peers]\ntag = 'web'", {"DO_TAG": "web"}).warnings


def test_half_of_public_never_locks_out(loaded: "Loading") -> None:
    """PUBLIC=true beside allow_peers = false must not turn default-deny on for everybody."""
    assert not loaded("[public]\nallow_peers = false", {"PUBLIC": "true"}).policy.public.managed


@pytest.mark.parametrize(("value", "warned"), [("", 0), ("false", 0), ("FALSE", 0), ("yes", 1), ("1", 1)])
def test_only_true_means_yes(loaded: "Loading", value: str, warned: int) -> None:
    """PUBLIC is no unless it is `true`; a value that looks like yes is warned about."""
    settings = loaded("", {"PUBLIC": value})
    assert (False, warned) == (settings.policy.public.managed, len(settings.warnings))


WRONG = [
    ({"DO_INTERVAL": "5m"}, "DO_INTERVAL", "must be a whole number of seconds, not 5m"),
    ({"DO_INTERVAL": "0"}, "DO_INTERVAL", "must be between 100ms and 24h"),
    ({"DO_INTERVAL": "9" * 5000}, "DO_INTERVAL", "must be between 100ms and 24h"),
    ({"DO_TAG": "a b"}, "DO_TAG", "must be the name of a tag: 1 to 255 letters, digits"),
]


@pytest.mark.parametrize(("environ", "key", "message"), WRONG)
def test_a_mistake_in_the_environment_names_the_variable(
    faults: "Faults", environ: dict[str, str], key: str, message: str
) -> None:
    """The Problem names the variable, and no line of a file that does not say it."""
    (problem,) = faults("[peers]\n[source]\n", environ)
    assert (key, None) == (problem.key, problem.line)
    assert message in problem.message


def test_a_broken_section_does_not_hide_the_environment(faults: "Faults") -> None:
    """Where the file has no table, the variable has nowhere to go, and the file is told."""
    assert ["peers"] == [problem.key for problem in faults("peers = 1", {"DO_TAG": "x"})]
