"""droplan.toml(5) and the commented configuration file, from the schema.

Law: the file says nothing: every line of it is a comment, and a key taken out of its comment is valid.
"""

import textwrap

from droplan_daemon import __version__
from droplan_daemon.settings import keys
from droplan_daemon.settings.keys import Key, tables

from .roff import bold, example, item, prose, section, title

_WIDTH = 100
_INTRODUCTION = """\
droplan's configuration. Every line is a comment: with nothing but a token, every Droplet of this one's VPC
(and of VPCs that are peered with it) may reach this one on its private interface, and nobody else may.

Before each key stands what it means; behind it its default, or an example where there is no default. Take
the # away from a key, and from the [section] that it stands in. Then: droplan check; systemctl reload
droplan.

See droplan.toml(5), and /usr/share/doc/droplan/policy.md to learn to write rules."""
_DESCRIPTION = """\
TOML. Every key is optional; an empty file, or none, lets every Droplet of this one's VPC (and of VPCs that
are actively peered with it) reach this one on its private interface, and nobody else. `droplan check` names
every mistake with its line and what would be right. A file with a mistake is never half used: at the start
droplan exits with 78, on a reload it goes on with what it has.

Every Droplet of a fleet can have the same file; each takes from it what concerns it.

A duration is a number and its unit in quotes, such as `"30s"`. Relative paths count from the folder of the
file. A selector says who: `any`, `all`, `peers`, `self`, `tag:NAME`, `name:GLOB`, `id:N`, `region:SLUG`,
`vpc:UUID`, `vpc`, an address or a prefix, joined by `and`, `or`, `not` and parentheses."""
_EXAMPLE = """\
[[allow]]
name  = "ssh from the bastion"
from  = "name:bastion"
ports = ["22/tcp"]

[[allow]]
name  = "the database, for the web servers"
on    = "tag:database"
from  = "tag:web"
ports = ["5432/tcp"]

[private]
allow_peers = false"""


def page(date: str) -> str:
    """The page as roff; `date` as 2026-11-22."""
    top = [key for key in keys() if not key.section]
    parts = [
        title("DROPLAN.TOML", 5, date, __version__),
        section("NAME", r"droplan.toml \- configuration of droplan"),
        section("SYNOPSIS", "/etc/droplan/droplan.toml"),
        section("DESCRIPTION", *map(prose, _DESCRIPTION.split("\n\n"))),
        section("KEYS BEFORE THE FIRST SECTION", "\n".join(map(_entry, top))),
    ]
    for table in tables().values():
        entries = [_entry(key) for key in keys() if key.section == table.name]
        parts.append(section(table.header.upper(), prose(table.meaning)) + "\n" + "\n".join(entries))
    parts += [
        section("EXAMPLE", example(_EXAMPLE.splitlines())),
        section("SEE ALSO", r"\fBdroplan\fR(8), /usr/share/doc/droplan/policy.md"),
    ]
    return "\n".join(parts) + "\n"


def file() -> str:
    """The file that a package installs."""
    parts = [_comment(_INTRODUCTION), *(_commented(key) for key in keys() if not key.section)]
    for table in tables().values():
        rule = "# " + "-" * (_WIDTH - 2)
        parts.append(f"{rule}\n{_comment(table.meaning)}\n#{table.header}")
        parts += [_commented(key) for key in keys() if key.section == table.name]
    return "\n\n".join(parts) + "\n"


def _entry(key: Key) -> str:
    default = f"Default: {key.default}." if key.default else f"No default. Example: {key.example}"
    return item(bold(_short(key)), prose(key.meaning), prose(f"{_form(key)} {default}"))


def _commented(key: Key) -> str:
    form = _comment(_form(key) if key.default else f"{_form(key)} Below is an example; there is no default.")
    return f"{_comment(key.meaning)}\n{form}\n#{_short(key)} = {key.default or key.example}"


def _form(key: Key) -> str:
    element = f" Each is {key.element}." if key.words.startswith("a list") else ""
    return f"It must be {key.words}.{element}"


def _short(key: Key) -> str:
    return key.name.rpartition(".")[2]


def _comment(text: str) -> str:
    paragraphs = text.split("\n\n")
    wrapped = [textwrap.fill(" ".join(one.split()), _WIDTH - 2, break_on_hyphens=False) for one in paragraphs]
    return "\n".join(f"# {line}".rstrip() for line in "\n\n".join(wrapped).splitlines())
