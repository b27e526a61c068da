"""The token: a value that does not show itself, and where it is found.

Law: text that may be a token leaves this module only inside a Token; a sentence about a bad
one says what is wrong with it, never what it is.
"""

import hmac
import os
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_IROTH
from typing import TYPE_CHECKING, NoReturn, Self

from droplan_daemon.errors import Problem
from droplan_daemon.plaintext import MASK

if TYPE_CHECKING:
    from collections.abc import Mapping

# DigitalOcean's have 71 characters; whatever is longer than this is another file.
_LONGEST = 4096

# Where the service has it from, and where a person's command finds it.
TOKEN_FILE = Path("/etc/droplan/token")
_WAYS = (
    f"put one that may read into {TOKEN_FILE} (mode 0600), which the service gets as its systemd credential; "
    "or name another file by source.token_file, or set the environment variable DO_KEY"
)


class Token:
    """A secret that only `reveal()` shows. No dataclass: `asdict` would look inside."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def reveal(self) -> str:
        """The secret itself, for the Authorization header."""
        return self._secret

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return hmac.compare_digest(self._secret.encode(), other._secret.encode())

    def __hash__(self) -> int:
        return hash(self._secret)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        message = "a Token is not written anywhere"
        raise TypeError(message)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search for the token came to: at most one of `token` and `problem`, and warnings.

    `renewal` says how to put another token in the place of this one, `path` is the file that it was in.
    """

    token: Token | None = None
    problem: Problem | None = None
    warnings: tuple[Problem, ...] = ()
    renewal: str = ""
    path: Path | None = None


def find_token(environ: "Mapping[str, str]", token_file: Path | None, usual: Path = TOKEN_FILE) -> Found:
    """The systemd credential `token`, else `token_file`, else `DO_KEY`, else the `usual` file.

    The first that is there counts. A blank credential is none: it is the unit's own, so that a service
    without a token can say what is missing.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    credential = Path(folder, "token") if folder else None
    if credential is not None and _there(credential) and not _blank(credential):
        found = _from_file(credential, "the systemd credential `token`", key="")
        return replace(found, renewal=_RENEW_CREDENTIAL)
    if token_file is not None:
        found = _from_file(token_file, "the token file", key="source.token_file")
        return replace(_with_warning(found, _shadowed(environ)), renewal=_renew(token_file), path=token_file)
    if environ.get("DO_KEY"):
        return replace(_from_text(environ["DO_KEY"], "DO_KEY", key="DO_KEY"), renewal=_RENEW_VARIABLE)
    if _there(usual):
        found = _from_file(usual, f"the token file {usual}", key="source.token_file")
        return replace(found, renewal=_renew_usual(usual), path=usual)
    return Found(
        problem=Problem("there is no token for the DigitalOcean API", "source.token_file", hint=_WAYS)
    )


_RENEW_CREDENTIAL = (
    "it is the systemd credential `token`: put a valid one into its file (LoadCredential=, as shipped "
    "/etc/droplan/token), then: systemctl restart droplan"
)
_RENEW_VARIABLE = "it is that of the environment variable DO_KEY: set a valid one, and start droplan again"


def _renew(path: Path) -> str:
    return f"put a valid one into {path}, and reload droplan if it runs"


def _renew_usual(path: Path) -> str:
    """The service reads this file at its start alone."""
    return f"put a valid one into {path}, then, if the service runs: systemctl restart droplan"


def _blank(path: Path) -> bool:
    """Whether a file holds white space at most; for one that cannot be read, reading it says why."""
    try:
        with path.open("rb") as file:
            return not file.read(_LONGEST).strip()
    except OSError:
        return False


def _there(path: Path) -> bool:
    """Whether something is there; what cannot be looked at is there, so that reading it says why not."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _from_file(path: Path, subject: str, *, key: str) -> Found:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LONGEST + 1)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        return Found(problem=Problem(f"{subject} cannot be read: {reason}", key, hint=_access_hint(error)))
    found = _from_text(data.decode("ascii", "replace"), subject, key=key)
    return _with_warning(found, _exposed(subject, key) if key and mode & S_IROTH else None)


def _from_text(text: str, subject: str, *, key: str) -> Found:
    secret = text.strip()
    fault = _fault(secret)
    if fault:
        return Found(problem=Problem(f"{subject} {fault}", key, hint="it holds the token and nothing else"))
    return Found(Token(secret))


def _fault(secret: str) -> str | None:
    """Why this cannot stand in an HTTP header as one word (RFC 9110, section 11.2), None when it can."""
    if not secret:
        return "is empty"
    if len(secret) > _LONGEST:
        return f"is longer than {_LONGEST} characters, which no token is"
    if not secret.isascii() or "\ufffd" in secret:
        return "has characters that are not ASCII, which no token has"
    if not all(char.isprintable() for char in secret):
        return "has line breaks or control characters inside, which no token has"
    if " " in secret:
        return "has blanks inside, which no token has"
    return None


def _access_hint(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "let droplan's user read it: chown it to that user, chmod 0400"
    return "name an existing file that holds the token and nothing else"


def _exposed(subject: str, key: str) -> Problem:
    return Problem(f"{subject} can be read by every user of this machine", key, hint="chmod o-rwx it")


def _shadowed(environ: "Mapping[str, str]") -> Problem | None:
    if not environ.get("DO_KEY"):
        return None
    hint = "remove one of them"
    return Problem(
        "DO_KEY is ignored, because source.token_file gives the token", "source.token_file", hint=hint
    )


def _with_warning(found: Found, warning: Problem | None) -> Found:
    return found if warning is None else Found(found.token, found.problem, (*found.warnings, warning))
