"""Which tests prove which fault, read from the test files without running them.

`@pytest.mark.fault("A1", "A2")` on a test, on a class of tests, in a `pytest.param(..., marks=...)` of a
test's own decorator, or as the module's `pytestmark` binds tests to faults. Ids are literal strings:
whoever reads a test sees what it proves.
"""

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, order=True)
class Proof:
    """A test that proves something about a fault; `path` counts from the root of the repository."""

    path: str
    test: str
    fault: str


class IdNotLiteral(ValueError):
    """A marker whose ids cannot be read without running the file."""


def proofs(root: "Path") -> tuple[Proof, ...]:
    """Every Proof under `root`/tests, each once, by file and test."""
    files = sorted((root / "tests").rglob("test_*.py"))
    found = (
        proof for path in files for proof in in_file(path.relative_to(root).as_posix(), path.read_text())
    )
    return tuple(sorted(set(found)))


def in_file(path: str, text: str) -> "Iterator[Proof]":
    """The Proofs of one file. Raises IdNotLiteral."""
    module = ast.parse(text, path)
    everywhere = _module_wide(module)
    for test, nodes in _tests(module.body, ()):
        for fault in (*everywhere, *_ids(nodes)):
            yield Proof(path, test, fault)


def _module_wide(module: ast.Module) -> tuple[str, ...]:
    values = [
        statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in statement.targets)
    ]
    return tuple(_ids(values))


def _tests(
    body: list[ast.stmt], around: tuple[ast.expr, ...]
) -> "Iterator[tuple[str, tuple[ast.expr, ...]]]":
    """Tests by name, with the decorators that count for each."""
    for node in body:
        if isinstance(node, Function) and node.name.startswith("test_"):
            yield node.name, (*around, *node.decorator_list)
        elif isinstance(node, ast.ClassDef):
            yield from _tests(node.body, (*around, *node.decorator_list))


def _ids(nodes: "Iterable[ast.expr]") -> "Iterator[str]":
    """The ids of every `mark.fault(...)` within these expressions."""
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Call) and _is_marker(node.func):
            yield from (_literal(argument) for argument in node.args)


def _is_marker(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "fault"
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "mark"
    )


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise IdNotLiteral(f"line {node.lineno}: write the fault's id as a string")
