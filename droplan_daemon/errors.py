"""Every error of droplan, split by what the loop must do about it.

    DroplanError
    ├── Retry                     nothing changed; look again later, backed off
    │   ├── SourceUnavailable     no answer: connection, deadline, DNS, TLS, 5xx
    │   │   └── RateLimited       429; carries how long to wait
    │   ├── SourceDenied          401 or 403: an operator must act; poll slowly, stay loud
    │   ├── SourceDoubtful        an answer that cannot be believed as a whole
    │   ├── HostUnknown           this machine is no Droplet that we can name, or a link is missing
    │   ├── CommitConflict        the kernel moved on since we looked: look again at once
    │   ├── CommitRejected        the kernel refused the whole transaction, and said why
    │   │   └── CommitUnsent      it never got there: no memory, no buffers; send it again
    │   ├── CommitUnknown         no answer from the kernel: read back before believing anything
    │   ├── StoreFailed           a state file could not be written or read
    │   └── ExportFailed          metrics could not be told
    ├── Refusal                   the Plan would take away more than the evidence supports
    │   └── RolledBack            the new rules cut us off; those of before are in force again
    └── Fatal                     the process ends; `exit_code` says how
        ├── ConfigInvalid         78 (EX_CONFIG); carries every Problem of the configuration
        ├── Misused               2; the command line lacks a word
        ├── NotPermitted          77 (EX_NOPERM)
        └── KernelUnsupported     78; names the missing feature

Law: decisions are made on types and fields, never on a message's text. Foreign exceptions
are translated at the edge where they arise, with the original as `__cause__`.
`reason` is one token for logs and status (`deadline`, `count_mismatch`); `str(error)` is one
sentence for a person. Neither ever holds a token or a body.
"""

from dataclasses import dataclass
from typing import ClassVar


class DroplanError(Exception):
    """The root. `reason` is a stable token; `str()` is one sentence."""

    reason: str = "failed"


class Retry(DroplanError):
    """Nothing changed; look again later."""


class SourceUnavailable(Retry):
    """The Source gave no answer. `status` and `page` where there were some; `via` is `api` or `source`."""

    via: str = "source"

    def __init__(
        self, message: str, *, reason: str, status: int | None = None, page: int | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.page = page


class RateLimited(SourceUnavailable):
    """429. `wait` is how long the API asks us to stay away, in seconds, already within bounds."""

    def __init__(self, message: str, *, wait: float, page: int | None = None) -> None:
        super().__init__(message, reason="rate_limited", status=429, page=page)
        self.wait = wait


class SourceDenied(Retry):
    """The token was not accepted (401) or lacks a scope (403; `scope` names it, `droplet:read`)."""

    def __init__(self, message: str, *, status: int, scope: str | None = None) -> None:
        super().__init__(message)
        self.reason = "unauthorized" if scope is None else "forbidden"
        self.status = status
        self.scope = scope


class SourceDoubtful(Retry):
    """A complete-looking answer that does not add up; it never takes a peer away.

    `relist` is how often it was read again in vain, where that was worth trying.
    """

    via: str = "source"
    relist: int | None = None

    def __init__(self, message: str, *, reason: str, page: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.page = page


class HostUnknown(Retry):
    """We cannot tell which Droplet this is, or which interface is which."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class CommitConflict(Retry):
    """The kernel's generation is no longer the observed one (ERESTART)."""

    reason = "conflict"


class CommitRejected(Retry):
    """The kernel refused the transaction; nothing changed.

    `errno` is the kernel's; `change` is the index in the Plan of the Change that it names (None:
    the transaction as a whole), `element` the packed set element, where it named one.
    """

    def __init__(
        self, message: str, *, errno: int, change: int | None = None, element: bytes | None = None
    ) -> None:
        super().__init__(message)
        self.reason = "rejected"
        self.errno = errno
        self.change = change
        self.element = element


class CommitUnsent(CommitRejected):
    """The transaction could not be sent at all, so nothing changed; `errno` says what was missing."""

    def __init__(self, message: str, *, errno: int) -> None:
        super().__init__(message, errno=errno)
        self.reason = "unsent"


class CommitUnknown(Retry):
    """The outcome is not known (`no_reply`, `overrun`, or `mismatch` when the read-back differs)."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StoreFailed(Retry):
    """A state file; `errno` is the operating system's, or None for unusable content.

    `reason` says what is wrong with content: `missing`, `damaged`, `version`, `checksum`, `shape`,
    `too_long`; `store` is all the rest.
    """

    def __init__(self, message: str, *, errno: int | None = None, reason: str = "store") -> None:
        super().__init__(message)
        self.errno = errno
        self.reason = reason


class ExportFailed(Retry):
    """Metrics could not be told; `reason` is the way: `listen` or `textfile`."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Refusal(DroplanError):
    """The Plan is not carried out: `reason` is a token (`self_missing`, `tags_hidden`).

    `accept` is the word by which the operator can have it carried out all the same; empty: none. `via`
    is whose answer it is that does not carry it (`api`, `source`); empty: no answer's fault.
    """

    via: str = ""

    def __init__(self, message: str, *, reason: str, accept: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.accept = accept


class RolledBack(Refusal):
    """With the new rules `probe` could not be reached any more: the rules of before stand."""

    def __init__(self, message: str, *, probe: str) -> None:
        super().__init__(message, reason="rolled_back")
        self.probe = probe


class Fatal(DroplanError):
    """The process ends with `exit_code`."""

    exit_code: ClassVar[int] = 1


class Misused(Fatal):
    """The command line asks for something that needs more words."""

    exit_code: ClassVar[int] = 2
    reason = "usage"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration: where (1-based, None: not in the file), what, what would be right."""

    message: str
    key: str = ""
    line: int | None = None
    column: int | None = None
    hint: str = ""


class ConfigInvalid(Fatal):
    """The configuration has mistakes; `problems` has all of them, in the order of the file."""

    exit_code: ClassVar[int] = 78
    reason = "config"

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        super().__init__(f"{path}: {count}")
        self.path = path
        self.problems = problems


class NotPermitted(Fatal):
    """The kernel or the file system does not let us."""

    exit_code: ClassVar[int] = 77
    reason = "not_permitted"


class KernelUnsupported(Fatal):
    """This kernel lacks `feature`."""

    exit_code: ClassVar[int] = 78
    reason = "kernel_unsupported"

    def __init__(self, message: str, *, feature: str) -> None:
        super().__init__(message)
        self.feature = feature
