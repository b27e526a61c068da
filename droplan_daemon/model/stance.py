"""What the operator has said to hold for a while, beside the configuration: a value.

Laws:
1. It outlives processes and boots, and only the operator's own word changes it.
2. A configuration that was tried is never enforced for good before somebody said so.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Stance:
    """`panic`: everything but management and replies is closed, since `since` (seconds since the epoch).

    `tried` is the digest of a configuration that is on trial until `tried_until` and not confirmed (empty:
    none is), `confirmed` that of the one that was confirmed last; a digest is the sha256 of a file's bytes.
    `rules` is the fingerprint of the Ruleset on trial (the sha256 of its script): what else runs under
    the trial's lease was not put there by us. `path` is the file of the configuration on trial.
    """

    panic: bool = False
    since: float = 0.0
    tried: str = ""
    tried_until: float = 0.0
    confirmed: str = ""
    rules: str = ""
    path: str = ""

    def bars(self, digest: str) -> bool:
        """Whether this configuration was tried, and nobody has said that it may stay."""
        return bool(self.tried) and self.tried == digest

    def panicking(self, since: float) -> "Stance":
        """In a panic from this moment on; one that is on goes on since it began."""
        return self if self.panic else replace(self, panic=True, since=since)

    def calm(self) -> "Stance":
        """No panic."""
        return replace(self, panic=False, since=0.0)

    def allows(self, digest: str) -> bool:
        """Whether this configuration was confirmed, and no other is on trial since."""
        return bool(digest) and self.confirmed == digest

    def trying(self, path: str, digest: str, rules: str, until: float) -> "Stance":
        """With this configuration on trial, which is these rules now."""
        return replace(self, tried=digest, tried_until=until, confirmed="", rules=rules, path=path)

    def keeping(self) -> "Stance":
        """With what is on trial confirmed."""
        return replace(self, tried="", tried_until=0.0, confirmed=self.tried)
