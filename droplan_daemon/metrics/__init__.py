"""Numbers for Prometheus: what the daemon does, as samples.

Laws:
1. The same families with the same values whoever asks: the file for node_exporter and the listener
   have one source (`families`, pure).
2. Telling numbers never fails a cycle: what cannot be told is a condition, tried again after the next.
3. Nothing of this room is loaded unless [metrics] asks for it.
4. How many series there are is bounded by the policy, never by who sends packets.

The pieces: `tally` (pure) adds up, `families` (pure) names, `text` (pure) writes them down, `textfile` and
`listening` are the ways out, `meter` holds them together.
"""
