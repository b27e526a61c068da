"""Families in Prometheus's text format. PURE.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from typing import TYPE_CHECKING

from .families import label_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .families import Family, Labels, Sample


def render(families: "Iterable[Family]") -> str:
    """The whole file."""
    return "".join(map(_family, families))


def number(value: float) -> str:
    """A value as short as it can be read back."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _family(family: "Family") -> str:
    meaning = family.meaning.replace("\\", r"\\").replace("\n", r"\n")
    head = f"# HELP {family.name} {meaning}\n# TYPE {family.name} {family.kind}\n"
    return head + "".join(_line(family.name, sample) for sample in family.samples)


def _line(name: str, sample: "Sample") -> str:
    return f"{name}{sample.suffix}{_labels(sample.labels)} {number(sample.value)}\n"


def _labels(labels: "Labels") -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in labels) + "}"


def _quoted(value: str) -> str:
    return label_value(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
