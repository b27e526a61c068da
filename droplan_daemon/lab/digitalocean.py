"""The emulated DigitalOcean as a whole: an account behind tokens, limits and faults.

Law: this is the order of things, and nothing else: faults around (authentication, then rate
limit, then API).
"""

from functools import partial
from typing import TYPE_CHECKING

from . import api, control, problems
from .faults import Faults
from .limits import Limiter
from .scopes import LAB_TOKEN, Tokens, bearer

if TYPE_CHECKING:
    from .messages import Request, Response
    from .world import World


class DigitalOcean:
    """An Application. `token` is one with full access, while `tokens` is left out."""

    token = LAB_TOKEN

    def __init__(
        self,
        world: "World",
        *,
        tokens: Tokens | None = None,
        limiter: Limiter | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.world = world
        self.tokens = tokens or Tokens()
        self.limiter = limiter or Limiter()
        self.faults = faults or Faults()

    def answer(self, request: "Request") -> "Response":
        """The Response, with every fault that is due; or what a script at `/_lab/` asked for."""
        if control.meant(request):
            return control.script(self.faults, request)
        return self.faults.around(request, self.world, partial(self._genuine, request))

    def _genuine(self, request: "Request", world: "World") -> "Response":
        authorization = request.headers.get("authorization", "")
        grant = self.tokens.grant(authorization)
        # Whoever is not known shares one bucket, else guesses would fill the memory.
        allowance = self.limiter.spend(bearer(authorization) if grant else "")
        if grant is None:
            answer = problems.unauthorized()
        elif not allowance.granted:
            answer = problems.too_many_requests()
        else:
            answer = api.respond(world, request, grant)
        return answer.with_headers(allowance.headers())
