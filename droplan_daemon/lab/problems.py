"""The errors that DigitalOcean's API answers with.

Law: every error has a JSON body with `id` and `message`, as the published description says.
It gives 401, 404, 429 and 500 word for word; that impossible parameters are 422, and what the
others say, is not written there and modelled on the rest.
"""

from types import MappingProxyType

from .messages import Response

_USUAL = MappingProxyType(
    {
        400: ("bad_request", "The request is invalid."),
        401: ("unauthorized", "Unable to authenticate you."),
        403: ("forbidden", "You are not authorized to perform this operation."),
        404: ("not_found", "The resource you requested could not be found."),
        405: ("method_not_allowed", "The method is not allowed for the resource."),
        429: ("too_many_requests", "API rate limit exceeded."),
        500: ("server_error", "Unexpected server-side error"),
        503: ("service_unavailable", "The service is temporarily unavailable."),
    }
)
# Any will do: clients only pass it on.
_REQUEST_ID = "4d9d8375-3c56-4925-a3e7-eb137fed17e9"


def problem(status: int, identifier: str, message: str) -> Response:
    """An error response. The request id is DigitalOcean's own aid for support tickets."""
    return Response(status, {"id": identifier, "message": message, "request_id": _REQUEST_ID})


def usual(status: int) -> Response:
    """The error that has this status; for one that we do not know, with the words of a 500."""
    return problem(status, *_USUAL.get(status, _USUAL[500]))


def unauthorized() -> Response:
    """401: no token, or one that is not known."""
    return usual(401)


def forbidden() -> Response:
    """403: the token lacks the scope."""
    return usual(403)


def not_found() -> Response:
    """404: no such resource, or no such path."""
    return usual(404)


def method_not_allowed(allowed: str) -> Response:
    """405: the path is there for other methods."""
    return usual(405).with_headers({"allow": allowed})


def too_many_requests() -> Response:
    """429: over the rate limit."""
    return usual(429)


def unprocessable(message: str) -> Response:
    """422: a parameter or a field has a value that it cannot have."""
    return problem(422, "unprocessable_entity", message)


def bad_request(message: str) -> Response:
    """400: the request does not make sense as a whole."""
    return problem(400, "bad_request", message)
