"""Where keys stand: the scanner agrees with tomllib about which keys there are."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplan_daemon.settings.positions import KeyPath, Place, Spot, positions

BASIC = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\') | st.just("\t"), max_size=6
).map(lambda text: f'"{text}"')
ESCAPED = st.sampled_from([r'"\""', r'"a\\"', r'"\u00e9 = [#"', r'"\U0001F600"', r'"\n\t"'])
LITERAL = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'"), max_size=6).map(
    lambda text: f"'{text}'"
)
MULTI = st.sampled_from(
    [
        '"""\na = 1\n[x]\n"""',
        '"""one"" two\\""""',
        '""""quoted""""',
        '"""""two at the end"""""',
        "'''\n\\ it's [[y]] #\n'''",
        "''''quoted''''",
        '"""\\\n   folded"""',
        '""""""',
        "''''''",
        '""',
        "''",
    ]
)
SCALAR = st.sampled_from(
    [
        "1",
        "-0x1F",
        "1_000",
        "3.5e-3",
        "inf",
        "true",
        "1979-05-27T07:32:00Z",
        "1979-05-27 07:32:00",
        "07:32:00",
    ]
)
BLANKS = st.sampled_from(["", " ", "\t "])
VOID = st.sampled_from(["", " ", "\n", ' # it\'s "a" ] } comment\n  ', "\n\n\t"])
NAME = st.sampled_from(["a", "b-c", "D_1", "42", '"q.x"', "'l = 1'", '"\\u00e9#"', '""', '"["'])
DOTTED = st.lists(NAME, min_size=1, max_size=3)


@st.composite
def _array(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=3))
    body = ",".join(f"{draw(VOID)}{item}{draw(VOID)}" for item in items)
    comma = draw(st.sampled_from(["", f",{draw(VOID)}"])) if items else draw(VOID)
    return f"[{body}{comma}]"


@st.composite
def _inline(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    names = draw(st.lists(NAME, max_size=3, unique_by=_meaning))
    return "{" + ", ".join(f"{name}{draw(BLANKS)}={draw(BLANKS)}{draw(values)}" for name in names) + "}"


VALUE = st.recursive(
    BASIC | ESCAPED | LITERAL | MULTI | SCALAR, lambda values: _array(values) | _inline(values), max_leaves=6
)


def _meaning(name: str) -> Any:
    return tomllib.loads(f"x = {name}")["x"] if name[0] in "\"'" else name


@st.composite
def _line(draw: st.DrawFn) -> str:
    key = f"{draw(BLANKS)}.{draw(BLANKS)}".join(draw(DOTTED))
    pair = f"{key}{draw(BLANKS)}={draw(BLANKS)}{draw(VALUE)}"
    line = draw(st.sampled_from([pair, pair, f"[{key}]", f"[[ {key} ]]", "# [no] = header", ""]))
    return f"{draw(BLANKS)}{line}{draw(BLANKS)}{draw(st.sampled_from(['', '# comment']))}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A valid document: generated lines, of which those stay that tomllib takes after the ones before."""
    text = ""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    for line in draw(st.lists(_line(), max_size=8)):
        longer = text + line.replace("\n", newline) + newline
        try:
            tomllib.loads(longer)
        except tomllib.TOMLDecodeError:
            continue
        text = longer
    return text


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, item in items:
        yield from _paths(item, (*path, key))


def _scalars(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    if not isinstance(value, dict | list):
        yield path, value
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, item in items:
        yield from _scalars(item, (*path, key))


@given(documents())
def test_the_scanner_and_tomllib_name_the_same_keys(text: str) -> None:
    """Every key path of the parsed document has a place, and nothing else has."""
    assert set(_paths(tomllib.loads(text))) == set(positions(text))


@given(documents())
def test_what_stands_at_a_scalars_place_is_that_scalar(text: str) -> None:
    """From the place of a value on, the text begins with something that tomllib reads as that value."""
    lines = text.replace("\r\n", "\n").split("\n")
    places = positions(text)
    for path, value in _scalars(tomllib.loads(text)):
        spot = places[path].value
        rest = "\n".join([lines[spot.line - 1][spot.column - 1 :], *lines[spot.line :]])
        assert _same(value, rest)


def _same(value: Any, rest: str) -> bool:
    """Whether `rest` begins with a value that equals this one; it may end anywhere after it."""
    for end in range(1, len(rest) + 1):
        try:
            read = tomllib.loads(f"x = {rest[:end]}")["x"]
        except (tomllib.TOMLDecodeError, ValueError):
            continue
        if read == value and type(read) is type(value):
            return True
    return False


PLACES = [
    ("a = 1", ("a",), Place(Spot(1, 1), Spot(1, 5))),
    ("\n  a . b=1", ("a", "b"), Place(Spot(2, 7), Spot(2, 9))),
    ("\n  a . b=1", ("a",), Place(Spot(2, 3), Spot(2, 3))),
    ("[t]\r\nx = true", ("t", "x"), Place(Spot(2, 1), Spot(2, 5))),
    ("[t]", ("t",), Place(Spot(1, 2), Spot(1, 2))),
    ("[[t]]\n[[t]]\nx = 1", ("t", 1, "x"), Place(Spot(3, 1), Spot(3, 5))),
    ("[[t]]\n[t.u]\n[[t]]\n[t.u]\nx = 1", ("t", 1, "u"), Place(Spot(4, 4), Spot(4, 4))),
    ("x = [\n 1, # one\n 2]", ("x", 1), Place(Spot(3, 2), Spot(3, 2))),
    ("x = {y = 'ü', 'z z' = 2}", ("x", "z z"), Place(Spot(1, 15), Spot(1, 23))),
    ('s = """""two at the end"""""\ny = 1', ("y",), Place(Spot(2, 1), Spot(2, 5))),
    ("s = ''''quoted''''\ny = 1", ("y",), Place(Spot(2, 1), Spot(2, 5))),
    ('s = """ \\""" = """\ny = 1', ("y",), Place(Spot(2, 1), Spot(2, 5))),
    ("x = [ # ]\n]\ny = 1", ("y",), Place(Spot(3, 1), Spot(3, 5))),
    ('s = """\n\n"""\ny = 1', ("y",), Place(Spot(4, 1), Spot(4, 5))),
]


@pytest.mark.parametrize(("text", "path", "place"), PLACES)
def test_lines_and_columns_count_from_one_in_characters(text: str, path: KeyPath, place: Place) -> None:
    """A place is what an editor shows: line and column from 1, whatever the line ends are."""
    assert place == positions(text)[path]
