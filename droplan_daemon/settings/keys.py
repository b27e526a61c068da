"""The keys of the file, read off its schema. Pure.

Law: made of the schema alone, so what is said about a key anywhere is what the program does.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from .forms import Form
from .schema import File, Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Key:
    """One key: dotted name, form in words, default and example as TOML (empty default: none), meaning.

    `element` is the form of each element of a list, empty where the value is none.
    """

    name: str
    words: str
    default: str
    meaning: str
    example: str
    element: str = ""

    @property
    def section(self) -> str:
        """The table that it stands in, empty for the top."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file: its name, its meaning, and whether there may be several."""

    name: str
    meaning: str
    several: bool

    @property
    def header(self) -> str:
        """As it is written."""
        return f"[[{self.name}]]" if self.several else f"[{self.name}]"


def keys() -> tuple[Key, ...]:
    """Every key of the file, in its order."""
    return tuple(_keys())


def tables() -> dict[str, Table]:
    """Every table of the file by its name, in its order."""
    return {
        name: Table(name, model.__doc__ or "", field.annotation is not model)
        for name, field in File.model_fields.items()
        if (model := _section(field.annotation))
    }


def header(section: str) -> str:
    """How a table is written: `[private]`, `[[allow]]`."""
    return tables()[section].header


def _keys() -> "Iterator[Key]":
    for name, field in File.model_fields.items():
        model = _section(field.annotation)
        if model is None:
            yield _key(name, field)
            continue
        for inner, inner_field in model.model_fields.items():
            yield _key(f"{name}.{inner_field.alias or inner}", inner_field)


def _section(annotation: Any) -> type[Section] | None:
    """The Section that a table, or each of a list of tables, is."""
    found = next(iter(get_args(annotation)), annotation)
    return found if isinstance(found, type) and issubclass(found, Section) else None


def _key(name: str, field: "FieldInfo") -> Key:
    forms = list(_forms(field))
    default = "" if isinstance(field.default, Section) else _toml(field.default)
    example = _toml(_example(field, several=len(forms) > 1 and forms[0].startswith("a list")))
    return Key(name, forms[0], default, field.description or "", example, (*forms, "")[1])


def _example(field: "FieldInfo", *, several: bool) -> object:
    examples = field.examples or [field.default]
    return examples if several else examples[0]


def _forms(field: "FieldInfo") -> "Iterator[str]":
    """The words of the Form, and those of an element's Form where it is a list."""
    pending: list[Any] = [*field.metadata, field.annotation]
    while pending:
        note = pending.pop(0)
        if isinstance(note, Form):
            yield note.words
        pending += get_args(note)  # of Annotated, its notes too


def _toml(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f'"{value:g}s"'
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{ {', '.join(f'{name} = {_toml(item)}' for name, item in value.items())} }}"
        case _:
            return f'"{value}"'
