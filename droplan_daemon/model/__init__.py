"""The nouns of droplan, as values.

Laws: standard library only; every type is frozen and slotted; nothing here performs
I/O, reads a clock or logs. A value that exists is valid: what could be wrong with
foreign input is settled in `sources` and `settings` before a noun is made of it.
"""
