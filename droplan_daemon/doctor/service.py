"""What the units, the daemon, its state and the saved rules mean. PURE."""

from typing import TYPE_CHECKING

from droplan_daemon.model.checkpoint import is_stale

from .finding import found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .facts import Daemon, Saved, State, Unit
    from .finding import Finding

OWN_UNITS = ("droplan.service", "droplan-restore.service")
_OTHERS = 0o027  # droplan and systemd make 0700; a group that may read is the operator's choice
_ON = frozenset({"enabled", "enabled-runtime", "static", "alias", "linked"})
_DYNAMIC = range(61184, 65520)
"""Users that systemd makes for DynamicUser=. Source: systemd's UIDS-GIDS."""


def units(seen: "tuple[Unit, ...]") -> "Iterator[Finding]":
    """Whether the next boot starts what has to be."""
    known = {unit.name: unit for unit in seen}
    main = known.get(OWN_UNITS[0])
    if main is None or main.load == "not-found":
        yield found(
            "service.missing",
            "systemd knows no droplan.service, so nothing keeps the rules in step by itself",
            "install the package, or start droplan once from cron",
        )
        return
    for name in OWN_UNITS:
        unit = known.get(name)
        if unit is None or unit.enabled not in _ON:
            yield found(
                "service.disabled",
                f"{name} is not enabled, so the next boot does without",
                "systemctl enable --now droplan",
            )
    if main.active not in {"active", "activating", "reloading"}:
        yield found(
            "service.down",
            f"droplan.service is {main.active or 'down'}: the rules stand, and nobody keeps them in step",
            "systemctl start droplan; journalctl -u droplan says why it stopped",
        )


def daemon(told: "Daemon | None", version: str) -> "Iterator[Finding]":
    """What the daemon says of itself."""
    if told is None:
        yield found(
            "service.down", "no daemon has told its status since boot", "systemctl enable --now droplan"
        )
        return
    if told.alive and told.version != version:
        yield found(
            "service.version",
            f"the daemon that runs is version {told.version}, and what is installed is {version}",
            "systemctl restart droplan; the rules stand meanwhile",
        )
    if told.alive and told.well:
        yield found("service.good", "the daemon runs and is well")
    elif told.alive:
        yield found(
            "service.trouble",
            f"the daemon: {told.trouble or 'it has told nothing for too long'}",
            "droplan status; journalctl -u droplan",
        )
    else:
        yield found(
            "service.down",
            "the daemon that told its status last is gone; the rules stand as it left them",
            "systemctl start droplan",
        )


def state(seen: "State", *, uid: int) -> "Iterator[Finding]":
    """What the next boot restores; `uid` is who looks."""
    if seen.folder is None or not (seen.saved or seen.damaged):
        yield found(
            "state.none",
            "nothing was kept for the next boot yet",
            "start the daemon: systemctl enable --now droplan",
        )
    folder = seen.folder
    if folder and folder.mode & _OTHERS:
        yield found(
            "state.open", f"{folder.path} has mode {folder.mode & 0o7777:04o}", f"chmod 0700 {folder.path}"
        )
    if folder and folder.uid not in {0, uid} and folder.uid not in _DYNAMIC:
        yield found(
            "state.owner",
            f"{folder.path} belongs to user {folder.uid}",
            "stop the daemon, chown -R root it, and start the daemon, which takes it over",
        )
    for sentence in seen.damaged:
        yield found(
            "state.damaged",
            sentence,
            "nothing: the daemon writes it anew; if it comes back, look at the disk",
        )
    if seen.foreign:
        yield found(
            "state.foreign",
            seen.foreign,
            "start the daemon, which writes that of this machine: systemctl restart droplan",
        )
    elif seen.saved:
        yield from _kept(seen)


def _kept(seen: "State") -> "Iterator[Finding]":
    if seen.script:
        yield found("state.script", seen.script, "systemctl restart droplan, which writes both anew")
    old = is_stale(seen.age)
    if old:
        age = "of unknown age" if seen.age is None else f"{seen.age / 86400:.0f} days old"
        yield found(
            "state.old",
            f"what the next boot would restore is {age}",
            "systemctl start droplan, which keeps it in step",
        )
    if not old and not seen.script and not seen.damaged:
        yield found("state.good", "the next boot restores what was enforced last")


def saved(seen: "Saved") -> "Iterator[Finding]":
    """The host's own files of rules."""
    for sentence in seen.failed:
        yield found("saved.failed", sentence, "sudo droplan save tells more")
    if seen.behind:
        names = ", ".join(seen.behind)
        yield found(
            "saved.behind",
            f"{names}: not what the kernel holds; the next boot restores older rules",
            "sudo droplan save",
        )
    elif not seen.failed:
        yield found("saved.good", "the saved iptables rules are those of the kernel")
