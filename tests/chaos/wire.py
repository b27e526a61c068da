"""HTTP without sockets: the Source's own client, whose transport is the emulated API."""

from typing import TYPE_CHECKING

from droplan_daemon.lab.delivery import WHOLE
from droplan_daemon.lab.messages import Request
from droplan_daemon.lab.scopes import LAB_TOKEN
from droplan_daemon.sources.cookies import httpx
from droplan_daemon.sources.digitalocean import DigitalOcean

if TYPE_CHECKING:
    from collections.abc import Callable

    from droplan_daemon.lab.digitalocean import DigitalOcean as Cloud

_URL = "http://127.0.0.1"


class Wire(httpx.AsyncBaseTransport):
    """Every request is answered at once; what cannot be delivered whole breaks off."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.url.path, dict(request.url.params), headers)
        answer = self._cloud.answer(asked)
        if answer.delivery != WHOLE:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
        whole = httpx.ByteStream(answer.content())
        return httpx.Response(answer.status, headers=answer.head(), stream=whole, request=request)


def source(cloud: "Cloud", now: "Callable[[], float]") -> DigitalOcean:
    """The real Source over the wire."""
    made = DigitalOcean(_URL, LAB_TOKEN, now=now, deadline=20.0)
    endpoint = made._endpoint
    endpoint._client = httpx.AsyncClient(base_url=_URL, headers=endpoint._headers, transport=Wire(cloud))
    return made
