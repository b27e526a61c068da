"""The token's rate limit, as the API last told it.

Source: the `ratelimit-*` headers of https://docs.digitalocean.com/reference/api/ — 5,000
requests an hour and 250 a minute, per token, each counted for an hour from its own moment.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests: `limit` an hour, `remaining` now, `spent` by our last poll.

    `reset` is when the oldest request expires, in seconds since the epoch.
    """

    limit: int
    remaining: int
    reset: float
    spent: int = 0
