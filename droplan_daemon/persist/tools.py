"""The programs that print and try rules, each as the words of its command.

Laws: no shell; nothing is decided on what a program says, only on how it ends. Its first line is
repeated to the person who has to mend it. A program that hangs is ended.
"""

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplan_daemon.errors import StoreFailed
from droplan_daemon.plaintext import cut, escape, mask

if TYPE_CHECKING:
    from collections.abc import Sequence

Words = tuple[str, ...]

# The lock of xtables may be held by somebody else for a while.
_LOCK_WAIT = "10"
_PATIENCE = 60.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class NotInstalled(StoreFailed):
    """The program is not there."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What prints the rules of each family and the sets, and what tries rules without loading them."""

    save_v4: Words = ("iptables-save",)
    test_v4: Words = ("iptables-restore", "--test", "-w", _LOCK_WAIT)
    save_v6: Words = ("ip6tables-save",)
    test_v6: Words = ("ip6tables-restore", "--test", "-w", _LOCK_WAIT)
    save_sets: Words = ("ipset", "save")


def of_variant(variant: str) -> Tools:
    """The tools of one variant of iptables, `nft` or `legacy`; empty: what the host means by iptables."""
    middle = f"-{variant}" if variant else ""
    wait = ("--test", "-w", _LOCK_WAIT)
    return Tools(
        (f"iptables{middle}-save",),
        (f"iptables{middle}-restore", *wait),
        (f"ip6tables{middle}-save",),
        (f"ip6tables{middle}-restore", *wait),
    )


def output(words: "Sequence[str]", text: str | None = None, patience: float = _PATIENCE) -> str:
    """What a program prints in time, given `text` to read. Raises NotInstalled or StoreFailed."""
    try:
        done = subprocess.run(
            words,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            env=_ENVIRONMENT,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=patience,
            check=False,
        )
    except FileNotFoundError as error:
        raise NotInstalled(f"{words[0]} is not installed", errno=error.errno) from error
    except subprocess.TimeoutExpired as error:
        raise StoreFailed(f"{words[0]} did not answer within {patience:g} seconds") from error
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise StoreFailed(f"{words[0]} could not be run: {reason}", errno=error.errno) from error
    if done.returncode:
        raise StoreFailed(f"{' '.join(words)} failed: {_said(done.stderr, done.returncode)}")
    return done.stdout


def _said(text: str, code: int) -> str:
    """The first line of a complaint, made fit to be shown; else the exit code."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return mask(cut(escape(lines[0]), 160)) if lines else f"exit code {code}"
