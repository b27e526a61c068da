"""What on this machine works against droplan, and what to do about it.

Laws:
1. Nothing is changed, anywhere: not by a probe of the API, not by looking at rules (no table and no
   module comes of it).
2. What was seen is a value first, the Facts; what it means is decided by `findings`, which is pure.
3. What could not be looked at is a finding of its own: never passed over, never taken for fine.
4. Every Finding has an id that stays, is explained in docs/doctor.md, and says what to do.
5. No daemon imports any of this.

`looking` looks at the machine; everything else here is pure. What asks the API is `sources.probing`, and
`cli.gathering` puts them together.
"""
