"""The metrics over HTTP, for a Prometheus that comes and asks.

Laws:
1. Who asks gets what was offered last; nobody who asks can make the daemon do anything.
2. One request at a time, with a deadline: a client that is slow or silent costs other clients seconds,
   and the daemon one thread.
3. An address that is taken is tried again with each offer.

prometheus_client owns the formats and their negotiation. It is an extra: imported here, and only to listen.
"""

import socket
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric

from droplan_daemon.errors import ExportFailed

from .families import label_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .families import Family

_PATIENCE = 5.0
_POLL = 0.1


class Listener:
    """An Exporter on this address and port."""

    condition = "metrics.listen.failed"

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._families: tuple[Family, ...] = ()
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def offer(self, families: "tuple[Family, ...]") -> None:
        """What is told from now on. Raises ExportFailed while nobody can ask."""
        self._families = families
        if self._server is None:
            self._listen()

    async def close(self) -> None:
        """Listen no longer."""
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join(2 * _PATIENCE)
            self._server.server_close()
        self._server = self._thread = None

    def collect(self) -> "Iterator[Metric]":
        """What prometheus_client asks of a collector."""
        for family in self._families:
            metric = Metric(family.name.removesuffix("_total"), family.meaning, family.kind)
            for sample in family.samples:
                labels = {name: label_value(value) for name, value in sample.labels}
                metric.add_sample(family.name + sample.suffix, labels, float(sample.value))
            yield metric

    def _listen(self) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        kind = _Server6 if ":" in self._address else _Server
        try:
            server = make_server(self._address, self._port, make_wsgi_app(registry), kind, _Handler)
        except OSError as error:
            place = f"[{self._address}]" if ":" in self._address else self._address
            reason = (error.strerror or "it is not possible").lower()
            message = f"nobody can ask for metrics on {place}:{self._port}: {reason}"
            raise ExportFailed(message, reason="listen") from error
        thread = Thread(target=server.serve_forever, args=(_POLL,), name="metrics", daemon=True)
        thread.start()
        self._server, self._thread = server, thread


class _Server(WSGIServer):
    """Without the name look-up of http.server, which can take half a minute; errors of clients are theirs."""

    def server_bind(self) -> None:
        # WSGIServer asks the resolver for a name that nobody needs.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Who asks is no news."""
