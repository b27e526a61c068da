"""Coming from the old droplan (the Go program of cron lines and containers) without a moment's gap.

Laws:
1. What is done is first a value, a Migration of printable steps; a dry run prints the same value.
2. The new rules stand before the old ones go: at no moment is a stranger in or a peer out.
3. Only what has exactly the shape that the old program gave it is removed. This is the one place
   where droplan writes chains that it did not make.
4. A step that fails undoes those before it, but for what the kernel would be worse without.
5. The token goes from where it was found into its file, and appears nowhere else.

`shell`, `cron`, `runs`, `places`, `chains` read what there was, `finding` holds it, `planning` decides: all
pure. `search` looks at the machine, `carrying` acts on it.
"""
