"""A certificate authority of the lab's own.

Law: `trustme` (the extra `lab`) is imported only when an Authority is made, so that plain HTTP
needs nothing more than the daemon does.
"""

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from droplan_daemon.errors import Fatal

if TYPE_CHECKING:
    from pathlib import Path

    from trustme import CA


class Authority:
    """Signs certificates that only those trust who trust `pem`. Raises Fatal without trustme."""

    def __init__(self) -> None:
        self._ca = _new_ca()

    @property
    def pem(self) -> bytes:
        """Its own certificate, for a client's `ca_file`."""
        return self._ca.cert_pem.bytes()

    def write(self, path: "Path") -> "Path":
        """Save its own certificate."""
        path.write_bytes(self.pem)
        return path

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """The TLS side of a server that is called so: host names and addresses."""
        now = datetime.now(UTC)
        before, after = (now - timedelta(days=2), now - timedelta(days=1)) if expired else (None, None)
        leaf = self._ca.issue_cert(*(names or ("127.0.0.1", "localhost")), not_before=before, not_after=after)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        return context


def _new_ca() -> "CA":
    try:
        from trustme import CA  # noqa: PLC0415 - an extra: absent where only the daemon runs
    except ImportError as error:
        message = "TLS in the lab needs the package trustme: install droplan-daemon[lab]."
        raise Fatal(message) from error
    return CA()
