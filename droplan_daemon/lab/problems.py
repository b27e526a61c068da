"""The errors that DigitalOcean's API answers with.

Law: every error has a JSON body with `id` and `message`, as the published description says.
"""

from .messages import Response


def problem(status: int, identifier: str, message: str) -> Response:
    """An error response. The request id is DigitalOcean's own aid for support tickets."""
    return Response(status, {"id": identifier, "message": message, "request_id": _REQUEST_ID})


_REQUEST_ID = "4d9d8375-3c56-4925-a3e7-eb137fed17e9"


def unauthorized() -> Response:
    """401: no token, or one that is not known."""
    return problem(401, "unauthorized", "Unable to authenticate you.")


def forbidden() -> Response:
    """403: the token lacks the scope."""
    return problem(403, "forbidden", "You are not authorized to perform this operation.")


def not_found() -> Response:
    """404: no such resource, or no such path."""
    return problem(404, "not_found", "The resource you requested could not be found.")


def method_not_allowed(allowed: str) -> Response:
    """405: the path is there for other methods."""
    answer = problem(405, "method_not_allowed", "The method is not allowed for the resource.")
    return answer.with_headers({"allow": allowed})


def unprocessable(message: str) -> Response:
    """422: a parameter or a field has a value that it cannot have."""
    return problem(422, "unprocessable_entity", message)


def bad_request(message: str) -> Response:
    """400: the request does not make sense as a whole."""
    return problem(400, "bad_request", message)


def too_many_requests() -> Response:
    """429: over the rate limit."""
    return problem(429, "too_many_requests", "API rate limit exceeded.")


DEFAULTS = {
    400: ("bad_request", "The request is invalid."),
    401: ("unauthorized", "Unable to authenticate you."),
    403: ("forbidden", "You are not authorized to perform this operation."),
    404: ("not_found", "The resource you requested could not be found."),
    429: ("too_many_requests", "API rate limit exceeded."),
    500: ("server_error", "Unexpected server-side error"),
    503: ("service_unavailable", "The service is temporarily unavailable."),
}


def by_status(status: int) -> Response:
    """The usual body of this status."""
    identifier, message = DEFAULTS.get(status, ("server_error", "Unexpected server-side error"))
    return problem(status, identifier, message)
