"""Migrations of a machine where the old droplan's chains stand in a real kernel, under probing packets."""

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.migrate import chains
from droplan_daemon.migrate.carrying import Variant, variants
from tests.boot.probing import Prober
from tests.daemon.machine import CANARY, PEERS, Machine
from tests.migrate.dumps import PRIVATE, dump, members
from tests.migrate.machines import put, tutorial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

WANTED = "etc/systemd/system/multi-user.target.wants/netfilter-persistent.service"
FULL = pytest.mark.full
both = pytest.mark.parametrize("old", ["nft", pytest.param("legacy", marks=FULL)], indirect=True)

# The command itself looks at the whole machine; here its files are below a folder.
MIGRATE = """
import sys
from pathlib import Path
from droplan_daemon.cli import _failed, migrating
from droplan_daemon.errors import DroplanError
machine = migrating.Machine(Path(sys.argv[1]), Path("/etc/droplan/droplan.toml"))
found = migrating.search(machine.root, {}, machine.config)
try:
    migrating.here(machine, found, as_json=False, dry_run=sys.argv[2:] == ["--dry-run"]).after()
except DroplanError as error:
    sys.exit(_failed(error, as_json=False))
"""


class Old:
    """web-1 with the old droplan's files and chains."""

    def __init__(self, machine: Machine, variant: str) -> None:
        self.machine, self.variant = machine, variant
        self.root = machine.folder / "root"
        self.configured = self.root / "etc/droplan/droplan.toml"
        tutorial(self.root, key=CANARY)
        self.install()
        put(self.root, "/etc/iptables/rules.v4", self.rules)

    def install(self) -> None:
        """What the old program made; its own Droplet is in the list as well."""
        peers = sorted(self.machine.addresses(*PEERS) | {str(self.machine.own.address("private"))})
        lines = (
            ":INPUT ACCEPT",
            ":droplan-peers -",
            "-A INPUT -i lo -j ACCEPT",
            "-A INPUT -i eth1 -j droplan-peers",
            "-A INPUT -i eth1 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "-A INPUT -i eth1 -j DROP",
            "-A INPUT -p tcp -m tcp --dport 2222 -j DROP",
            *(f"-A droplan-peers -s {peer}/32 -j ACCEPT" for peer in peers),
        )
        self.load(*lines)

    def load(self, *lines: str) -> None:
        """More of the table `filter`."""
        text = "".join(f"{line}\n" for line in ("*filter", *lines, "COMMIT"))
        self.machine.namespace.run(f"iptables-{self.variant}-restore", "--noflush", text=text)

    @property
    def rules(self) -> str:
        """The rules of its iptables, without counters and times."""
        text = self.machine.namespace.run(f"iptables-{self.variant}-save", "-t", "filter")
        return "".join(f"{line.partition(' [')[0]}\n" for line in text.splitlines() if line[:1] != "#")

    def restores_rules(self) -> None:
        """As `systemctl enable netfilter-persistent` does."""
        link = self.root / WANTED
        link.parent.mkdir(parents=True)
        link.symlink_to("/lib/systemd/system/netfilter-persistent.service")

    def configure(self, more: str = "") -> None:
        """A configuration that names this lab's API, as one would have for an API of one's own."""
        files = {"rules_v4": "rules.v4", "rules_v6": "rules.v6", "ipsets": "ipsets"}
        kept = "".join(f'{key} = "{self.root}/etc/iptables/{name}"\n' for key, name in files.items())
        self.machine.write(f"{more}\n[persist]\n{kept}")
        text = self.machine.config.read_text().replace(str(self.machine.token_file), "token")
        put(self.root, "/etc/droplan/droplan.toml", text)

    def migrate(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.machine.namespace.call(
            subprocess.run,
            [sys.executable, "-c", MIGRATE, str(self.root), *words],
            env=self.machine.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def probing(self) -> "Iterator[Prober]":
        """A peer and a stranger who send all the time, and did so before."""
        with Prober(self.machine, *self.machine.addresses("web-2")) as prober:
            prober.more()
            yield prober
            prober.more()
            prober.stop()
        assert 0 == prober.strangers
        assert prober.sent == prober.peers

    def files(self) -> "dict[str, str]":
        """Every file of the machine, and what is in it."""
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in self.root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def old(request: pytest.FixtureRequest, namespace: "Namespace", tmp_path: "Path") -> "Iterator[Old]":
    """web-1 of the lab, with one variant of iptables."""
    variant = getattr(request, "param", "nft")
    try:
        namespace.run(f"iptables-{variant}-save")
    except FileNotFoundError:
        pytest.skip(f"iptables-{variant} is not installed")
    with Machine(namespace, tmp_path) as made:
        yield Old(made, variant)


@both
def test_the_old_chains_go_and_no_packet_is_lost(old: Old) -> None:
    """Afterwards the new rules stand and nothing of the old; meanwhile the peer is in, the stranger out."""
    old.configure()
    with old.probing():
        done = old.migrate()
    assert (0, "") == (done.returncode, done.stderr.replace(_ADVICE, "")), done.stdout
    assert old.machine.addresses(*PEERS) == old.machine.peers
    assert ":INPUT ACCEPT\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 2222 -j DROP\n" in (
        old.rules.replace(":FORWARD ACCEPT\n", "").replace(":OUTPUT ACCEPT\n", "")
    )
    assert "droplan-peers" not in old.rules
    assert "droplan-peers" not in old.files()["etc/iptables/rules.v4"]
    assert "droplan-peers" in old.files()["etc/iptables/rules.v4.droplan-bak"]
    assert not (old.root / "etc/cron.d/droplan").exists()
    kept = old.root / "etc/cron.d/droplan.disabled~"
    assert 0o600 == kept.stat().st_mode & 0o777
    assert (f"{CANARY}\n", 0o600) == (
        (old.root / "etc/droplan/token").read_text(),
        (old.root / "etc/droplan/token").stat().st_mode & 0o777,
    )
    assert CANARY not in done.stdout + done.stderr


_ADVICE = (
    "droplan: warning: the token stood in a file that others may have read: "
    "make a new one, and put it into its place\n"
)


def test_a_second_time_there_is_nothing_to_do(old: Old) -> None:
    """Migrating what is migrated changes no file and no rule."""
    old.configure()
    assert 0 == old.migrate().returncode
    before = old.files(), old.rules, old.machine.generation
    done = old.migrate()
    assert (0, before) == (done.returncode, (old.files(), old.rules, old.machine.generation))
    assert "nothing to do" in done.stdout


def test_a_dry_run_says_the_same_and_does_nothing(old: Old) -> None:
    """Each step that is done afterwards was told before, and nothing was changed by telling."""
    old.configure()
    before = old.files(), old.rules, old.machine.generation
    told = old.migrate("--dry-run")
    assert (0, before) == (told.returncode, (old.files(), old.rules, old.machine.generation))
    done = old.migrate()
    would = [line.removeprefix("would ") for line in told.stdout.splitlines() if line.startswith("would ")]
    assert would == [
        line.removeprefix("done: ") for line in done.stdout.splitlines() if line.startswith("done: ")
    ]
    assert would


@both
def test_a_failure_undoes_what_was_done(old: Old) -> None:
    """Without an API that answers nothing is put into the kernel, and files and chains are as before."""
    before = old.files(), old.rules
    with old.probing():
        done = old.migrate()
    assert 1 == done.returncode
    assert "everything before it was undone" in done.stderr
    assert before == (old.files(), old.rules)
    assert not (old.root / "etc/droplan/token").exists()
    assert old.machine.observe().ruleset is None
    assert CANARY not in done.stdout + done.stderr


# Does everything but remove a chain.
FAKE = """#!/bin/sh
text=$(cat)
case $text in *"-X "*) exit 4 ;; esac
printf '%s\\n' "$text" | /usr/sbin/{program} "$@"
"""


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_chains_that_cannot_go_bring_everything_back(old: Old, backend: str) -> None:
    """When the old chains cannot be removed, the new rules go again and all is as it was."""
    old.configure(f'[firewall]\nbackend = "{backend}"')
    before = old.files(), old.rules
    program = f"iptables-{old.variant}-restore"
    fake = put(old.root, f"/bin/{program}", FAKE.format(program=program), 0o755)
    done = old.machine.namespace.call(
        subprocess.run,
        [sys.executable, "-c", _with_tools(str(fake.parent)) + MIGRATE, str(old.root)],
        env=old.machine.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    fake.unlink()
    assert 1 == done.returncode, done.stdout
    assert "could not remove the old chains" in done.stderr
    assert before == (old.files(), old.rules)
    assert old.machine.observe().ruleset is None


def _with_tools(folder: str) -> str:
    """Programs are looked for in this folder first."""
    path = f"{folder}:/usr/sbin:/usr/bin"
    return f"from droplan_daemon.persist import tools\ntools._ENVIRONMENT['PATH'] = '{path}'\n"


def test_leftover_chains_alone_are_taken_over(old: Old) -> None:
    """Who removed the cron line long ago, and has chains still: those go in the same way."""
    old.configure()
    put(old.root, "/etc/droplan/token", CANARY, 0o600)
    (old.root / "etc/cron.d/droplan").unlink()
    (old.root / "opt/droplan/refresh.sh").unlink()
    with old.probing():
        done = old.migrate()
    assert 0 == done.returncode, done.stderr
    assert "droplan-peers" not in old.rules


@pytest.mark.parametrize(
    ("old", "ipset"),
    [
        ("nft", "true"),
        ("legacy", "false"),
        pytest.param("nft", "false", marks=FULL),
        pytest.param("legacy", "true", marks=FULL),
    ],
    indirect=["old"],
)
def test_iptables_takes_over_chains_of_the_same_name(old: Old, ipset: str) -> None:
    """A host that restores rules of its own stays with iptables: new chains of the old names, no gap."""
    old.restores_rules()
    old.configure(f"[firewall]\nipset = {ipset}")
    with old.probing():
        done = old.migrate()
    assert 0 == done.returncode, done.stderr
    assert old.machine.observe().ruleset is None
    for rules in (old.rules, old.files()["etc/iptables/rules.v4"]):
        assert ("old-droplan" in rules, "-j droplan-peers" in rules) == (False, True)
        assert "-A INPUT -i eth1 -j DROP" not in rules
        assert "--dport 2222 -j DROP" in rules
    assert "nothing to do" in old.migrate().stdout


def test_saved_rules_of_the_old_program_alone_are_no_reason_for_iptables(old: Old) -> None:
    """Where the file of rules held nothing but the old chains, the host goes on with nftables."""
    old.restores_rules()
    put(old.root, "/etc/iptables/rules.v4", dump(*PRIVATE, *members(), nat=False))
    old.configure()
    assert "into the kernel (nftables)" in old.migrate("--dry-run").stdout
    put(old.root, "/etc/iptables/rules.v4", dump("-A INPUT -i lo -j ACCEPT", *PRIVATE, *members()))
    assert "into the kernel (iptables)" in old.migrate("--dry-run").stdout


def test_strange_chains_are_left_alone_and_said(old: Old) -> None:
    """A rule that the old program would not have written keeps its chain; the new rules stand beside it."""
    old.load("-A droplan-peers -p icmp -j ACCEPT")
    old.configure()
    before = old.rules
    done = old.migrate()
    assert (0, before) == (done.returncode, old.rules)
    assert "droplan-peers is left alone" in done.stderr
    assert old.machine.addresses(*PEERS) == old.machine.peers


PUBLIC_TOO = (
    ":droplan-peers-public -",
    "-A INPUT -i eth0 -j droplan-peers-public",
    "-A INPUT -i eth0 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    "-A INPUT -i eth0 -j DROP",
)


def test_no_interface_is_opened_to_strangers(old: Old) -> None:
    """A configuration without an interface that the old chains guard is refused, and all is as before."""
    old.load(*PUBLIC_TOO)
    old.configure()
    before = old.files(), old.rules
    done = old.migrate()
    assert 1 == done.returncode
    assert "the old chains keep strangers out by eth0" in done.stderr
    assert before == (old.files(), old.rules)
    assert old.machine.observe().ruleset is None


def test_old_rules_of_an_interface_that_is_managed_go(old: Old) -> None:
    """Once the new configuration manages it, the old chains of the public interface go like the others."""
    old.load(*PUBLIC_TOO)
    old.configure("[public]\nmanaged = true")
    done = old.migrate()
    assert 0 == done.returncode, done.stderr
    assert "droplan-peers" not in old.rules
    assert "-j DROP" not in old.rules.replace("--dport 2222 -j DROP", "")


def test_a_peer_that_only_the_old_list_had_is_said(old: Old) -> None:
    """Whom the old chain let in and the new rules do not is named, this Droplet itself aside."""
    old.load("-A droplan-peers -s 10.10.0.77/32 -j ACCEPT")
    old.configure()
    done = old.migrate()
    assert 0 == done.returncode
    assert "the old chains let in 10.10.0.77; the new rules do not" in done.stderr


@both
def test_renamed_chains_judge_as_before(old: Old) -> None:
    """Renaming makes room for chains of the same names and changes no verdict; it can be taken back."""
    variant = variants_of(old)
    left = old.machine.namespace.call(variant.leftovers)
    before = old.rules
    with old.probing() as prober:
        old.machine.namespace.run(*variant.restore, text=chains.moved_aside(left))
        prober.more()
        aside = old.machine.namespace.call(variant.leftovers)
        assert (("old-droplan-peers",), len(left.rules)) == (aside.chains, len(aside.rules))
        assert "" == chains.moved_aside(aside)
        old.machine.namespace.run(*variant.restore, text=chains.moved_back(left))
    assert before == old.rules


def test_the_tests_would_see_a_gap(old: Old) -> None:
    """What the probing is worth: with the old chains gone before the new rules stand, the stranger is in."""
    variant = variants_of(old)
    left = old.machine.namespace.call(variant.leftovers)
    with Prober(old.machine, *old.machine.addresses("web-2")) as prober:
        prober.more()
        assert 0 == prober.strangers
        old.machine.namespace.run(*variant.restore, text=chains.removal(left))
        prober.more()
    assert prober.strangers > 0


def variants_of(old: Old) -> Variant:
    return old.machine.namespace.call(variants)[f"iptables-{old.variant}"]
