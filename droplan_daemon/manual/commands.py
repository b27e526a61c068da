"""droplan(8), from the command line's own parser."""

import argparse
from typing import TYPE_CHECKING

from droplan_daemon import __version__
from droplan_daemon.cli.parser import tree

from .roff import bold, example, italic, item, literal, prose, section, title

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "keeps a Droplet\\(aqs firewall in step with its fleet"
_DESCRIPTION = """\
droplan asks the DigitalOcean API which Droplets exist, works out who may reach this one, writes that to the
kernel as one transaction, reads it back, and does so again whenever something changes. With nothing but a
token, every Droplet of this one's VPC may reach it on the private interface and nobody else may.

The rules stand when the daemon stops, crashes or is upgraded. `droplan flush` takes them away."""
_FILES = (
    ("/etc/droplan/droplan.toml", "The configuration; see `droplan.toml`(5). Every key is optional."),
    ("/etc/droplan/token", "The API token, mode 0600. The service gets it as a systemd credential."),
    ("/etc/default/droplan", "Variables for the service; it need not be there, and is no place for a token."),
    ("/var/lib/droplan", "The last enforced state, from which a boot restores it."),
    ("/run/droplan", "What `droplan status` reads."),
)
_ENVIRONMENT = (
    ("DO_KEY", "The API token, where neither a systemd credential nor `source.token_file` gives one."),
    (
        "DO_TAG, PUBLIC, DO_INTERVAL",
        "What they meant to the old droplan: `peers.tag`, public peers, seconds.",
    ),
    ("STATE_DIRECTORY, RUNTIME_DIRECTORY", "Instead of /var/lib/droplan and /run/droplan."),
)
_SIGNALS = (
    ("SIGHUP", "Read the configuration anew. One with a mistake is refused, and the old one goes on."),
    ("SIGTERM", "End. The rules stay."),
)


def parser() -> argparse.ArgumentParser:
    """The whole command line, with every argument of every command."""
    # What a command takes is there where it is asked for by its name; after `run` much would be left out.
    return tree(("", *commands(tree(()))))


def commands(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands below a parser by their names; none where it has no commands."""
    # argparse has no public way to its own tree.
    for action in of._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


def arguments(of: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, without its commands and without --help."""
    unsaid = (argparse._SubParsersAction, argparse._HelpAction)  # noqa: SLF001
    return [action for action in of._actions if not isinstance(action, unsaid)]  # noqa: SLF001


def page(date: str) -> str:
    """The page as roff; `date` as 2026-11-22."""
    root = parser()
    parts = [
        title("DROPLAN", 8, date, __version__),
        section("NAME", rf"droplan \- {_NAME}"),
        section("SYNOPSIS", f"{bold('droplan')} {italic('COMMAND')} [{italic('option')} ...]"),
        section("DESCRIPTION", *map(prose, _DESCRIPTION.split("\n\n"))),
        section("OPTIONS", "\n".join(map(_argument, arguments(root)))),
        '.SH "COMMANDS"',
        *(_command(("droplan", name), command) for name, command in commands(root).items()),
        section("EXIT STATUS AND EXAMPLES", _epilog(root)),
        section("SIGNALS", _items(_SIGNALS)),
        section("ENVIRONMENT", _items(_ENVIRONMENT)),
        section("FILES", _items(_FILES)),
        section("SEE ALSO", r"\fBdroplan.toml\fR(5), \fBnft\fR(8), \fBsystemctl\fR(1), \fBjournalctl\fR(1)"),
    ]
    return "\n".join(parts) + "\n"


def _items(pairs: tuple[tuple[str, str], ...]) -> str:
    return "\n".join(item(bold(term), prose(meaning)) for term, meaning in pairs)


def _command(path: tuple[str, ...], command: argparse.ArgumentParser) -> str:
    taken = [italic(_metavar(action)) for action in arguments(command) if not action.option_strings]
    parts = [f'.SS "{literal(" ".join(path))}"', " ".join([bold(" ".join(path)), "[options]", *taken])]
    parts += [".PP", prose(command.description or "")]
    parts += map(_argument, arguments(command))
    parts += [".PP", _epilog(command)] if command.epilog and command.epilog.strip() else []
    return "\n".join([*parts, *_below(path, command)])


def _below(path: tuple[str, ...], command: argparse.ArgumentParser) -> "Iterator[str]":
    for name, inner in commands(command).items():
        taken = [italic(_metavar(action)) for action in arguments(inner) if not action.option_strings]
        yield item(" ".join([bold(" ".join((*path, name))), *taken]), prose(_help_of(command, name)))
        optional = [action for action in arguments(inner) if action.option_strings]
        if optional:
            yield "\n".join([".RS", *map(_argument, optional), ".RE"])


def _help_of(command: argparse.ArgumentParser, name: str) -> str:
    group = next(a for a in command._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return next((choice.help or "" for choice in group._choices_actions if choice.dest == name), "")  # noqa: SLF001


def _argument(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else italic(_metavar(action))
    names = ", ".join(map(bold, action.option_strings))
    term = f"{names} {value}".strip() if names else value
    return item(term, prose((action.help or "").replace("%(default)s", str(action.default))))


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _epilog(command: argparse.ArgumentParser) -> str:
    """Blocks between empty lines: examples are shown as they are typed, all else is prose."""
    blocks = [block.rstrip() for block in (command.epilog or "").strip("\n").split("\n\n")]
    return "\n.PP\n".join(map(_block, filter(None, blocks)))


def _block(text: str) -> str:
    head, _, rest = text.partition("\n")
    if head.endswith(":") and rest.startswith("  "):
        return f"{literal(head.capitalize())}\n.PP\n{example(rest.splitlines())}"
    return prose(text)
