"""The host's own iptables rules, saved where its distribution restores them at boot.

Laws:
1. What is saved is the whole of what the host has, as its own tools print it: others' rules too,
   for whoever restores the file throws everything else away.
2. Nothing is written that the restorer would refuse: rules pass `iptables-restore --test`, and
   the sets that they name are in a file that is restored before them.
3. A file is replaced whole or not at all, keeps its mode, owner and label, and what stood there
   before is kept beside it. The same content is not written again.
4. Nothing here touches the kernel.

`layout` and `dump` are pure; `tools` runs programs, `files` writes, `keeper` joins them.
"""
