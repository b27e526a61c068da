"""The reference of every key, for the manual. Pure.

Law: made of the schema alone, so that manual and program cannot disagree.
"""

from .schema import Key, keys, sections


def reference() -> str:
    """Markdown: a heading for each section, and for each key its form, default and meaning."""
    parts = [_entry(key) for key in keys() if not key.section]
    for name, meaning in sections().items():
        parts.append(f"### [{name}]\n\n{meaning}")
        parts += [_entry(key) for key in keys() if key.section == name]
    return "\n\n".join(parts) + "\n"


def _entry(key: Key) -> str:
    name = key.name.rpartition(".")[2]
    default = (
        f"Default: `{key.default}`." if key.default else f"No default. Example: `{name} = {key.example}`."
    )
    return f"**`{name}`** must be {key.words}. {default}  \n{key.meaning}"
