"""State on disk: what is kept for the next start, for boot, and for who asks how it is.

Laws:
1. `atomic`: the old content or the new one, never anything between.
2. `sealed`, `codec`, `script`: what is read back is believed only if its checksum, its version and its
   shape are right; anything else is a StoreFailed with a sentence, never an exception of another kind.
3. Failing is never fatal here: the caller goes on enforcing and tries again.
"""

from .atomic import read_whole, write_atomic
from .files import Recovered, StateFiles
from .sealed import seal, unseal

__all__ = ["Recovered", "StateFiles", "read_whole", "seal", "unseal", "write_atomic"]
