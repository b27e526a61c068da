"""Whether a command is the old program's, and what it is told. Pure.

The old program takes no argument: whoever says `droplan once` or `droplan run` means the new one.
"""

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from . import shell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

IMAGE = "tam7t/droplan"
VARIABLES = ("DO_KEY", "DO_TAG", "PUBLIC", "DO_INTERVAL")

# Programs whose arguments are another command.
_WRAPPER = re.compile(r"sh|bash|dash|timeout|flock|nice|ionice|chronic|nohup|setsid|systemd-run")

_Variables = dict[str, "str | None"]


def told(
    command: str, known: "Mapping[str, str | None]", files: shell.ReadFile, depth: int = 4
) -> _Variables | None:
    """The variables that the old program gets from this shell text; None: it does not run it.

    Scripts that the text runs are read, too, `depth` of them in one another.
    """
    script = shell.read(command, known, files)
    for words in script.commands:
        found = _told(words, script.variables, files, depth)
        if found is not None:
            return found
    return None


def _told(
    words: tuple[str, ...], known: "Mapping[str, str | None]", files: shell.ReadFile, depth: int
) -> _Variables | None:
    name = PurePosixPath(words[0]).name
    if name == "droplan":
        return _ours(known) if not words[1:] else None
    if name in {"docker", "podman"} and image_in(words):
        return _ours({**known, **dict(_container_variables(words, known, files))})
    if _WRAPPER.fullmatch(name):
        rests = (words[start:] for start in range(1, len(words)))
        return next(
            (found for rest in rests if (found := _told(rest, known, files, depth)) is not None), None
        )
    text = files(words[0]) if words[0].startswith("/") and depth else None
    return told(text, known, files, depth - 1) if text and text.startswith("#!") else None


def _ours(variables: "Mapping[str, str | None]") -> _Variables:
    return {name: variables[name] for name in VARIABLES if name in variables}


def image_in(words: "Sequence[str]") -> bool:
    """Whether one of the words is the old program's container image, of whatever registry and tag."""
    return any(is_image(word) for word in words)


def is_image(name: str) -> bool:
    """Whether this is the old program's image: `docker.io/tam7t/droplan:latest`."""
    plain = name.partition("@")[0]
    head, _, last = plain.rpartition("/")
    return f"{head}/{last.partition(':')[0]}".removeprefix("docker.io/") == IMAGE


def _container_variables(
    words: "Sequence[str]", known: "Mapping[str, str | None]", files: shell.ReadFile
) -> "Iterator[tuple[str, str | None]]":
    """What `-e NAME=value`, `-e NAME` and `--env-file FILE` hand into the container."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == "--env-file":
            yield from variables_of_file(files(value if equals else following) or "").items()
        elif option in {"-e", "--env"} or (word.startswith("-e") and not word.startswith("--")):
            said = following if word in {"-e", "--env"} else value if option == "--env" else word[2:]
            name, equals, value = said.partition("=")
            yield name, value if equals else known.get(name)


def variables_of_file(text: str) -> dict[str, str | None]:
    """A file of NAME=value lines, without quotes (docker) or with (systemd, compose)."""
    return dict(shell.read(text, {}, lambda _: None).variables)
