"""Where a Fleet comes from, and which Droplet this machine is.

Laws: foreign bytes become values of `model` here or an error of `errors`, nothing else leaves
this room; sources know neither settings nor backends and are handed plain values; an answer
that is partial or contradicts itself is never a Fleet.

    payloads      bytes -> one Page of values               PURE
    listing       Pages -> one complete Listing, or doubt   PURE
    concurrency   several at once, and a deadline
    http          one bounded GET
    digitalocean  the API's listings -> Fleet
    file          a saved listing -> Fleet, and its changes
    metadata      what the metadata service says of this machine
    links         what the kernel says of this machine
    host          both of them and the Fleet -> Host
"""
