"""`droplan lab`: its commands, signals and exit codes.

Laws:
1. Every way out cleans up: the end, an error, Ctrl-C, SIGTERM, a terminal that goes away.
2. What goes wrong is one sentence on standard error and an exit code of DESIGN's, never a traceback.
3. What needs the `lab` extra is imported when it is needed, not before.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from droplan_daemon.errors import ConfigInvalid, DroplanError, Fatal
from droplan_daemon.settings import describe, environment, folders, load

from .console import Console, wants_colour
from .running import Note

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from .world import World

_EPILOG = """\
examples:
  droplan lab demo                          watch droplan protect an emulated fleet
  droplan lab up                            leave it running; Ctrl-C ends it
  droplan lab up --config droplan.toml      try a policy of your own in it
  doctl compute droplet list -o json >fleet.json; droplan lab up --fleet fleet.json
  droplan lab create web-1                  in another terminal: a Droplet comes …
  droplan lab destroy web-1                 … and goes
  droplan lab enter mysql-1 droplan status  run a command in a Droplet (default: a shell)
"""


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Mount `lab` under droplan's command line; what it parses has `main` as its `command`."""
    lab = subparsers.add_parser(
        "lab",
        help="an emulated fleet: the demonstration, and a place to try a policy",
        description="An emulated DigitalOcean and a fleet of network namespaces on this machine.\n"
        "Runs as root, or as an ordinary user where the kernel allows user namespaces.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lab.set_defaults(command=main)
    commands = lab.add_subparsers(dest="lab_command", metavar="COMMAND", required=True)
    commands.add_parser("demo", help="the demonstration, in less than a minute")
    up = commands.add_parser("up", help="a lab that is left running to play with")
    up.add_argument("--config", type=Path, metavar="FILE", help="the policy file of every Droplet")
    up.add_argument(
        "--fleet", type=Path, metavar="FILE", help="the Droplets: JSON as GET /v2/droplets or doctl give it"
    )
    for name, what in (("create", "create a Droplet in the running lab"), ("destroy", "destroy one")):
        command = commands.add_parser(name, help=what)
        command.add_argument("name", metavar="NAME")
        if name == "create":
            command.add_argument("--tag", action="append", default=[], metavar="TAG", help="may be repeated")
    enter = commands.add_parser("enter", help="run a command (default: a shell) in a machine of the lab")
    enter.add_argument("name", metavar="NAME")
    enter.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add_parser("down", help="end the running lab")


def main(args: argparse.Namespace) -> int:
    """Carry out what `add_parser` parsed; the exit code."""
    environ = environment()
    console = Console(sys.stdout, colour=wants_colour(sys.stdout, environ))
    # Before a user namespace makes everybody root.
    note = Note(_runtime_folder(environ))
    try:
        return _COMMANDS[args.lab_command](args, console, note)
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.say("\nInterrupted; everything is cleaned up.")
        return 1
    except BrokenPipeError:
        # Nobody reads any more; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ConfigInvalid as error:
        sys.stderr.write(f"{describe(error.path, error.problems)}\n")
        return error.exit_code
    except DroplanError as error:
        return _fail(str(error), error.exit_code if isinstance(error, Fatal) else 1)
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename or 'the lab cannot go on'}.", 1)


def _fail(sentence: str, code: int) -> int:
    sys.stderr.write(f"droplan lab: {sentence}\n")
    return code


def _runtime_folder(environ: "Mapping[str, str]") -> Path:
    """Never the daemon's own: what stands in the note is run by `lab enter`."""
    if environ.get("RUNTIME_DIRECTORY"):
        return folders(environ).runtime
    if os.geteuid() == 0:
        return Path("/run/droplan-lab")
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "droplan-lab"
    return Path(tempfile.gettempdir()) / f"droplan-lab-{os.geteuid()}"


def _run(work: "Coroutine[object, object, None]") -> None:
    """Raises CancelledError when a signal ended it."""
    try:
        asyncio.run(_until_signalled(work))
    finally:
        # Everything is cleaned up; what is left is to say so and to exit with the right code.
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


async def _until_signalled(work: "Coroutine[object, object, None]") -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def end() -> None:
        # A second signal would interrupt the cleaning up.
        if task is not None and not task.cancelling():
            task.cancel()

    for number in _ENDING:
        loop.add_signal_handler(number, end)
    try:
        await work
    finally:
        # From here on the loop takes itself apart, and a signal would find it half gone.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


def _demo(_args: argparse.Namespace, console: Console, _note: Note) -> int:
    from .demo import demonstrate  # noqa: PLC0415 - needs what `lab enter` does not
    from .netns import gain_rights  # noqa: PLC0415

    gain_rights()
    _run(demonstrate(console))
    return 0


def _up(args: argparse.Namespace, console: Console, note: Note) -> int:
    from .netns import gain_rights  # noqa: PLC0415 - as above
    from .up import leave_running  # noqa: PLC0415

    policy = _read(args.config) if args.config else ""
    world = _world(args.fleet)
    with note.held():
        gain_rights()
        try:
            _run(leave_running(console, note, world, policy))
        except asyncio.CancelledError:
            console.say("\nThe lab is gone.")
    return 0


def _world(fleet: Path | None) -> "World":
    from .fleet_file import read_fleet  # noqa: PLC0415 - as above
    from .tutorial import tutorial  # noqa: PLC0415

    return read_fleet(fleet) if fleet else tutorial()[0]


def _read(config: Path) -> str:
    """The text of a policy without a mistake; [source] is the lab's. Raises ConfigInvalid."""
    try:
        load(config, {}, need_token=False)
    except ConfigInvalid as error:
        problems = tuple(problem for problem in error.problems if not problem.key.startswith("source."))
        if problems:
            raise ConfigInvalid(error.path, problems) from error
    return config.read_text(encoding="utf-8-sig")


def _create(args: argparse.Namespace, console: Console, note: Note) -> int:
    from .client import connected  # noqa: PLC0415 - as above

    async def create() -> None:
        running = note.read()
        async with connected(running.url, Path(running.ca_file)) as client:
            number = await client.create(args.name, vpc=await client.first_vpc(), tags=args.tag)
            console.say(f"{args.name} is created, with the id {number}.")

    _run(create())
    return 0


def _destroy(args: argparse.Namespace, console: Console, note: Note) -> int:
    from .client import connected  # noqa: PLC0415 - as above

    async def destroy() -> None:
        running = note.read()
        async with connected(running.url, Path(running.ca_file)) as client:
            numbers = await client.named(args.name)
            if not numbers:
                raise Fatal(f"There is no Droplet named {args.name}.")
            for number in numbers:
                await client.destroy(number)
                console.say(f"{args.name} is destroyed; its id was {number}.")

    _run(destroy())
    return 0


def _enter(args: argparse.Namespace, _console: Console, note: Note) -> int:
    machines = note.read().machines
    if args.name not in machines:
        raise Fatal(f"There is no machine named {args.name}; there are {', '.join(machines)}.")
    entrance = machines[args.name]
    command = (*entrance.command, *(args.words or ("sh",)))
    os.execvpe(command[0], command, {**environment(), **entrance.environ})  # noqa: S606 - no shell wanted


def _down(_args: argparse.Namespace, console: Console, note: Note) -> int:
    note.end()
    console.say("The lab is gone.")
    return 0


_COMMANDS = {
    "demo": _demo,
    "up": _up,
    "create": _create,
    "destroy": _destroy,
    "enter": _enter,
    "down": _down,
}
