"""From what the operator wants and what exists to what the kernel should hold.

Laws: pure; `model` and `errors` only. The same Policy, Fleet and Host always give the same
Ruleset, whatever the order of the Fleet.
"""
