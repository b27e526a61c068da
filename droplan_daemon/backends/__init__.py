"""What observes and commits a Ruleset: nftables, and an in-memory fake.

Laws: a backend knows `model`, `effects`, `errors` and its own library, nothing of policies,
fleets or sources. It writes nothing but its own table.
"""
