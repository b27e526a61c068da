"""What the kernel, the clock, the configuration and the old program's remains mean. PURE."""

from typing import TYPE_CHECKING

from .finding import found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from droplan_daemon.errors import Problem

    from .facts import Backend, Clock, Configuration, Kernel, Node
    from .finding import Finding

NEARLY_FULL = 0.9
"""Of the table of connections: with more in it, new ones are soon refused."""

OFF, WRONG = 30.0, 300.0
"""Seconds by which a clock is off, and by which short-lived certificates and logs become useless."""

EARLIEST = 1_700_000_000.0
"""Before this moment (2023-11-14) no droplan existed."""

_OTHERS_WRITE = 0o022
_OTHERS_READ = 0o077


def configuration(told: "Configuration", *, uid: int) -> "Iterator[Finding]":
    """The file, its folder and the token; `uid` is who looks, and trusts itself."""
    for problem in told.problems:
        yield found("config.invalid", f"{_where(told.path, problem)}: {problem.message}", _hint(problem))
    for problem in told.token:
        yield found("token.unusable", problem.message, _hint(problem))
    for problem in told.cautions:
        yield found("config.caution", f"{_where(told.path, problem)}: {problem.message}", _hint(problem))
    if not told.problems and not told.cautions:
        yield found("config.good", f"{told.path} has no mistake")
    for node in told.nodes:
        if node.mode & _OTHERS_WRITE or node.uid not in {0, uid}:
            fix = f"chown root {node.path}; chmod go-w {node.path}"
            yield found("config.writable", f"{node.path} {_whose(node)}", fix)
    yield from _token(told, uid)


def _token(told: "Configuration", uid: int) -> "Iterator[Finding]":
    node = told.token_node
    if node and (node.mode & _OTHERS_READ or node.uid not in {0, uid}):
        fix = f"chown root {node.path}; chmod 0600 {node.path}"
        yield found("token.readable", f"the token's file {node.path} {_whose(node)}", fix)
    else:
        for problem in told.token_cautions:
            yield found("config.caution", f"{_where(told.path, problem)}: {problem.message}", _hint(problem))
    if told.token_from_variable and not told.service_has_token:
        yield found(
            "token.elsewhere",
            "the token is in this shell's DO_KEY, which the service does not see",
            "put it into /etc/droplan/token (mode 0600)",
        )


def _whose(node: "Node") -> str:
    return f"belongs to user {node.uid} and has mode {node.mode & 0o7777:04o}"


def _where(path: str, problem: "Problem") -> str:
    return path if problem.line is None else f"{path}:{problem.line}"


def _hint(problem: "Problem") -> str:
    return problem.hint or "droplan check shows where it stands"


def kernel(seen: "Kernel") -> "Iterator[Finding]":
    """What the kernel can, and settings of the whole machine that matter here."""
    for sentence in seen.lacking or ():
        yield found(
            "kernel.unsupported", sentence, "take a kernel of your distribution, with its modules installed"
        )
    if seen.lacking == ():
        yield found("kernel.good", "the kernel has what the backend needs")
    yield from _tracking(seen)
    unchecked = [name for name, value in seen.rp_filter.items() if value == 0]
    if unchecked:
        names = " and ".join(unchecked)
        settings = " ".join(f"net.ipv4.conf.{name}.rp_filter=2" for name in unchecked)
        yield found(
            "kernel.rp_filter",
            f"the kernel takes every sender's address on {names} for true (rp_filter is off); droplan "
            "judges by address and interface",
            f"sysctl -w {settings}, and the same in /etc/sysctl.d",
        )
    state = "on" if seen.ipv6 else "off: its rules are only kept for the day that it is on"
    yield found("kernel.ipv6", f"IPv6 is {state}")


def _tracking(seen: "Kernel") -> "Iterator[Finding]":
    if seen.tracked is None or not seen.room:
        yield found(
            "kernel.untracked",
            "the kernel tracks no connections yet (no nf_conntrack)",
            "nothing: the first ruleset that asks for it loads it; where there are no modules, build it in",
        )
        return
    if seen.tracked >= NEARLY_FULL * seen.room:
        yield found(
            "kernel.table_full",
            f"{seen.tracked:,} of {seen.room:,} connections are tracked; when full, new ones are dropped",
            f"sysctl -w net.netfilter.nf_conntrack_max={seen.room * 2}, and the same in /etc/sysctl.d",
        )
    if seen.tcp_loose and not seen.enforced:
        yield found(
            "kernel.tcp_loose",
            "a connection that was open before the kernel tracked any is taken for one of ours "
            "(nf_conntrack_tcp_loose=1), and outlives the first enforcement",
            "sysctl -w net.netfilter.nf_conntrack_tcp_loose=0 before the first start, or restart what "
            "listens after it",
        )


def clock(seen: "Clock") -> "Iterator[Finding]":
    """The clock beside the API's."""
    if seen.now < EARLIEST or (seen.ahead is not None and abs(seen.ahead) > WRONG):
        how = "long ago" if seen.ahead is None else _off(seen.ahead)
        yield found("clock.wrong", f"the clock is wrong ({how}): certificates look invalid", _SET)
    elif seen.ahead is not None and abs(seen.ahead) > OFF:
        yield found("clock.off", f"the clock is off ({_off(seen.ahead)})", _SET)
    elif seen.ahead is not None:
        yield found("clock.good", "the clock agrees with the API's")
    if seen.synchronised is False:
        yield found("clock.unsynchronised", "nothing keeps the clock right (NTP is not synchronised)", _SET)


_SET = "install and start systemd-timesyncd or chrony: timedatectl set-ntp true"


def _off(ahead: float) -> str:
    return f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the API's"


def backend(chosen: "Backend") -> "Iterator[Finding]":
    """Which one, and what is odd about it."""
    if chosen.blocked:
        fix = "droplan once tries it again, and says the same; nothing of it was done by halves"
        yield found("backend.blocked", chosen.blocked, fix)
    else:
        yield found("backend.chosen", f"rules by {chosen.choice}")
    for caution in chosen.cautions:
        yield found(
            "backend.caution", caution, "docs/iptables.md has the whole of it; droplan once tries it now"
        )


def old(remains: tuple[str, ...]) -> "Iterator[Finding]":
    """What is there of the old droplan."""
    if not remains:
        yield found("old.gone", "there is nothing of the old droplan")
        return
    yield found(
        "old.droplan",
        f"the old droplan is still here: {', '.join(remains)}",
        "sudo droplan migrate --dry-run, then without --dry-run",
    )
