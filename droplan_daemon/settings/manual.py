"""The reference of every key, for the manual. Pure.

Law: made of the schema alone, so that manual and program cannot disagree.
"""

from .keys import Key, keys, tables


def reference() -> str:
    """Markdown: a heading for each section, and for each key its form, default and meaning."""
    parts = [_entry(key) for key in keys() if not key.section]
    for table in tables().values():
        parts.append(f"### {table.header}\n\n{table.meaning}")
        parts += [_entry(key) for key in keys() if key.section == table.name]
    return "\n\n".join(parts) + "\n"


def _entry(key: Key) -> str:
    name = key.name.rpartition(".")[2]
    default = (
        f"Default: `{key.default}`." if key.default else f"No default. Example: `{name} = {key.example}`."
    )
    element = f" Each is {key.element}." if key.words.startswith("a list") else ""
    return f"**`{name}`** must be {key.words}. {default}  \n{key.meaning}{element}"
