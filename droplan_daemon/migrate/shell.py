r"""What a shell script sets and runs, as far as refresh scripts go. Pure: files come through a function.

Law: nothing is ever executed. A value that only a running shell could know (`$(vault read …)`) is
None, and never guessed.

Understood: quotes of both kinds, backslashes, comments, `$NAME`, `${NAME}`, `${NAME:-default}`,
`$(cat FILE)`, assignments alone, before a command, after `export`, `env` or `sudo`, and `. FILE`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

ReadFile = Callable[[str], str | None]
"""The content of a file of the machine that is looked at; None when there is none."""

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=", re.ASCII)
_BRACED = re.compile(r"([A-Za-z_]\w*)(?::?-([^}]*))?", re.ASCII)
_CAT = re.compile(r"\s*(?:cat\s+|<\s*)([\"']?)([^\s\"']+)\1\s*")
_ENDS = frozenset(";&|\n()")
# What may stand before a command, or before an assignment.
_PREFIX = re.compile(
    r"export|declare|local|readonly|typeset|env|sudo|exec|command|if|then|else|elif|while|until|do|!|\{|-.*"
)
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class _Piece:
    """Part of a word: text, a variable (`default` when unset), a file's content, or what nobody knows."""

    kind: str
    text: str = ""
    default: str | None = ""


_Word = list[_Piece]


@dataclass(slots=True)
class Script:
    """What came of reading: variables (None: not to be known), and each command's words."""

    variables: dict[str, str | None] = field(default_factory=dict)
    commands: list[tuple[str, ...]] = field(default_factory=list)


def read(text: str, known: Mapping[str, str | None], files: ReadFile, depth: int = _DEPTH) -> Script:
    """Everything that the script says, given the variables that it starts with."""
    script = Script(dict(known))
    for words in _commands(text):
        _follow(script, words, files, depth)
    return script


def _follow(script: Script, words: list[_Word], files: ReadFile, depth: int) -> None:
    """One command: its assignments, and what it runs."""
    values = [_value(word, script.variables, files) for word in words]
    run: list[str] = []
    for word, value in zip(words, values, strict=True):
        name = _ASSIGNED.match(word[0].text) if word and word[0].kind == "text" and not run else None
        if name:
            script.variables[name[1]] = None if value is None else value[name.end() :]
        elif run or not _PREFIX.fullmatch(value or ""):
            run.append("" if value is None else value)
    if run:
        script.commands.append(tuple(run))
    if run[:1] in (["."], ["source"]) and run[1:] and depth:
        inner = files(run[1])
        if inner is not None:
            found = read(inner, script.variables, files, depth - 1)
            script.variables |= found.variables
            script.commands += found.commands


def _value(word: _Word, variables: Mapping[str, str | None], files: ReadFile) -> str | None:
    """The text of a word; None when a part of it is not to be known."""
    parts = [_part(piece, variables, files) for piece in word]
    return None if None in parts else "".join(part or "" for part in parts)


def _part(piece: _Piece, variables: Mapping[str, str | None], files: ReadFile) -> str | None:
    if piece.kind == "variable":
        return variables.get(piece.text, piece.default) or piece.default
    if piece.kind == "file":
        content = files(piece.text)
        return None if content is None else content.rstrip("\n")
    return piece.text if piece.kind == "text" else None


def _commands(text: str) -> Iterator[list[_Word]]:
    """Simple commands: lists of words, up to an operator or the end of a line."""
    words: list[_Word] = []
    scanner = _Scanner(text.replace("\\\n", ""))
    while True:
        token = scanner.token()
        if token is None or isinstance(token, str):
            if words:
                yield words
            words = []
            if token is None:
                return
        else:
            words.append(token)


class _Scanner:
    """Words and operators, one at a time."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def token(self) -> "_Word | str | None":
        """A word, an operator, or None at the end. Redirections are passed over."""
        while True:
            self._skip()
            char = self._peek()
            if char == "":
                return None
            if char in _ENDS:
                self._at += 1
                return char
            if char in "<>":
                self._redirection()
                continue
            word = self._word()
            if self._peek() in {"<", ">"} and len(word) == 1 and word[0].text.isdecimal():
                continue  # 2>&1
            return word

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self) -> None:
        """Blanks, and a comment up to the end of its line."""
        while self._peek() in {" ", "\t", "\r"}:
            self._at += 1
        if self._peek() == "#":
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end

    def _redirection(self) -> None:
        while self._peek() in {"<", ">", "&"}:
            self._at += 1
        self._skip()
        if self._peek() not in _ENDS | {""}:
            self._word()

    def _word(self) -> _Word:
        pieces: _Word = []
        while (char := self._peek()) and char not in _ENDS and char not in " \t\r<>":
            if char == "'":
                pieces.append(_Piece("text", self._until("'")))
            elif char == '"':
                self._at += 1
                self._quoted(pieces)
            elif char == "\\":
                pieces.append(_Piece("text", self._text[self._at + 1 : self._at + 2]))
                self._at += 2
            elif char in "$`":
                pieces.append(self._substitution())
            else:
                pieces.append(_Piece("text", char))
                self._at += 1
        return _joined(pieces)

    def _until(self, end: str) -> str:
        """What stands between two signs."""
        start = self._at + 1
        found = self._text.find(end, start)
        found = len(self._text) if found < 0 else found
        self._at = found + 1
        return self._text[start:found]

    def _quoted(self, pieces: _Word) -> None:
        pieces.append(_Piece("text"))
        while (char := self._peek()) and char != '"':
            if char in "$`":
                pieces.append(self._substitution())
                continue
            if char == "\\" and self._text[self._at + 1 : self._at + 2] in {'"', "\\", "$", "`"}:
                self._at += 1
            pieces.append(_Piece("text", self._peek()))
            self._at += 1
        self._at += 1

    def _substitution(self) -> _Piece:
        if self._peek() == "`":
            return _command(self._until("`"))
        if self._text.startswith("$(", self._at):
            return _command(self._parenthesis())
        if self._text.startswith("${", self._at):
            self._at += 1
            named = _BRACED.fullmatch(self._until("}"))
            return _Piece("variable", named[1], named[2] or "") if named else _Piece("unknown")
        name = _NAME.match(self._text, self._at + 1)
        self._at = name.end() if name else self._at + 1
        return _Piece("variable", name[0]) if name else _Piece("text", "$")

    def _parenthesis(self) -> str:
        start, depth = self._at + 2, 1
        self._at = start
        while depth and self._peek():
            depth += {"(": 1, ")": -1}.get(self._peek(), 0)
            self._at += 1
        return self._text[start : self._at - 1]


def _command(text: str) -> _Piece:
    """What `$(…)` stands for: the content of a file, or what nobody knows."""
    cat = _CAT.fullmatch(text)
    return _Piece("file", cat[2]) if cat else _Piece("unknown")


def _joined(pieces: _Word) -> _Word:
    """The same with neighbouring text as one piece, so that a name before `=` is in one."""
    whole: _Word = []
    for piece in pieces:
        if whole and piece.kind == whole[-1].kind == "text":
            whole[-1] = _Piece("text", whole[-1].text + piece.text)
        else:
            whole.append(piece)
    return whole
