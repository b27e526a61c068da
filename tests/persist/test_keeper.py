"""What the Keeper saves, and what it leaves alone."""

import errno
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.errors import StoreFailed
from droplan_daemon.persist import dump, files
from droplan_daemon.persist.keeper import IptablesKeeper, Result
from droplan_daemon.persist.layout import Layout
from droplan_daemon.persist.tools import Tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Namespace
    from tests.persist.conftest import Keeping

RULE = "-A INPUT -s 10.10.0.9/32 -i eth1 -j ACCEPT\n"
OTHER = "-A INPUT -s 10.10.0.7/32 -i eth1 -j ACCEPT\n"
MATCH = "-A INPUT -i eth1 -m set --match-set dp-peers-4 src -j ACCEPT\n"
SETS = "create dp-peers-4 hash:ip\nadd dp-peers-4 10.10.0.9\nadd dp-peers-4 10.10.0.7\n"


def test_all_rules_of_both_families_and_all_sets_are_saved(host: "Keeping") -> None:
    """Rules of both families and every set, whoever made them, stand in their files."""
    host.sets("create operators hash:net\nadd operators 192.0.2.0/24\n")
    host.rules(RULE)
    host.rules("-A INPUT -s 2001:db8::9/128 -i eth0 -j ACCEPT\n", family=6)
    assert {
        "rules.v4": Result.SAVED,
        "rules.v6": Result.SAVED,
        "ipsets": Result.SAVED,
    } == host.results()
    assert RULE in (host / "rules.v4").read_text()
    assert "2001:db8::9" in (host / "rules.v6").read_text()
    assert "add operators 192.0.2.0/24" in (host / "ipsets").read_text()


def test_what_is_saved_restores(host: "Keeping") -> None:
    """Sets and then rules, read into a kernel that has neither, give the rules that there were."""
    host.sets(SETS)
    host.rules(RULE + MATCH)
    host.save()
    kept = {name: (host / name).read_text() for name in ("rules.v4", "ipsets")}
    restore = host.tools.test_v4[0]
    host.namespace.run(restore, text="*filter\nCOMMIT\n")
    host.namespace.run("ipset", "destroy")
    host.namespace.run("ipset", "restore", "-exist", text=kept["ipsets"])
    host.namespace.run(restore, text=kept["rules.v4"])
    assert {"rules.v4": Result.UNCHANGED, "ipsets": Result.UNCHANGED} == {
        name: result for name, result in host.results().items() if name != "rules.v6"
    }


def test_the_same_content_is_not_written_again(host: "Keeping") -> None:
    """Counters and the time of saving are no change: the file stays the one that it was."""
    host.sets(SETS)
    host.rules(RULE + MATCH)
    host.save()
    before = [(host / name).stat().st_ino for name in ("rules.v4", "ipsets")]
    text = (host / "rules.v4").read_text().replace("[0:0]", "[7:420]").replace("# Gen", "# Sometime gen")
    (host / "rules.v4").write_text(text)
    assert {Result.UNCHANGED} == set(host.results().values())
    assert before == [(host / name).stat().st_ino for name in ("rules.v4", "ipsets")]
    assert [] == list(host.folder.glob("*.droplan-bak"))


def test_a_change_replaces_the_file_and_keeps_the_previous(host: "Keeping") -> None:
    """The previous file is `.droplan-bak`; mode and owner are those that it had."""
    host.rules(RULE)
    host.save()
    path = host / "rules.v4"
    before = path.read_text()
    path.chmod(0o604)
    os.chown(path, 1234, 4321)
    host.rules(OTHER)
    assert host / "rules.v4.droplan-bak" == host.save()["rules.v4"].backup
    assert before == (host / "rules.v4.droplan-bak").read_text()
    assert OTHER in path.read_text()
    for name in ("rules.v4", "rules.v4.droplan-bak"):
        found = (host / name).stat()
        assert (0o604, 1234, 4321) == (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def test_a_new_file_is_not_for_everybody(host: "Keeping") -> None:
    """A file that was not there gets the mode that the distribution's own tool gives."""
    host.rules(RULE)
    host.save()
    assert 0o640 == stat.S_IMODE((host / "rules.v4").stat().st_mode)


def test_a_label_of_the_file_is_kept(host: "Keeping") -> None:
    """An access list on the file is on the new file, too."""
    path = host / "rules.v4"
    path.write_text("")
    host.namespace.run("true")
    # linux/posix_acl_xattr.h: version 2; owner rw, user 1234 r, group r, mask r, others none
    entries = ((1, 6, -1), (2, 4, 1234), (4, 4, -1), (16, 4, -1), (32, 0, -1))
    label = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, rights, who in entries
    )
    try:
        os.setxattr(path, "system.posix_acl_access", label)
    except OSError as error:
        pytest.skip(f"no access lists on this file system: {error.strerror}")
    host.rules(RULE)
    host.save()
    assert RULE in path.read_text()
    assert label == os.getxattr(path, "system.posix_acl_access")


def test_what_was_broken_by_hand_is_kept_and_said(host: "Keeping") -> None:
    """A file that could not have been restored is kept as `.droplan-bak`, which is said; it is never lost."""
    broken = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT --sauce tabasco -j ACCEPT\n"
    (host / "rules.v4").write_text(broken)
    host.rules(RULE)
    saved = host.save()["rules.v4"]
    assert Result.SAVED is saved.result
    assert str(host / "rules.v4.droplan-bak") in saved.note
    assert broken == (host / "rules.v4.droplan-bak").read_text()
    for rule in (OTHER, OTHER.replace("eth1", "eth2")):
        host.rules(rule)
        assert "" == host.save()["rules.v4"].note
    assert broken == (host / "rules.v4.droplan-bak.1").read_text()
    assert not (host / "rules.v4.droplan-bak.2").exists()
    assert OTHER not in (host / "rules.v4.droplan-bak.1").read_text()


def test_rules_that_name_sets_are_not_saved_where_nobody_restores_sets(host: "Keeping") -> None:
    """iptables-restore would refuse the file at boot: the old one stands, and it is said what to do."""
    (host / "rules.v4").write_text("# precious\n")
    host.sets(SETS)
    host.rules(MATCH)
    saved = host.save(layout=replace(host.layout, ipsets=None))["rules.v4"]
    assert Result.FAILED is saved.result
    assert "install ipset-persistent" in saved.note
    assert "# precious\n" == (host / "rules.v4").read_text()
    assert (
        Result.SAVED is host.save(layout=replace(host.layout, ipsets=None), strict=False)["rules.v4"].result
    )


def test_what_the_restorer_would_refuse_is_not_written(host: "Keeping") -> None:
    """Rules that do not pass the trial leave their file alone, and the other family's are saved."""
    (host / "rules.v4").write_text("# precious\n")
    host.rules(RULE)
    keeper = replace(host.keeper(), tools=replace(host.tools, test_v4=("false",)))
    done = {saved.path.name: saved for saved in host.namespace.call(keeper.save)}
    assert (Result.FAILED, Result.SAVED) == (done["rules.v4"].result, done["rules.v6"].result)
    assert "false failed: exit code 1" in done["rules.v4"].note
    assert "# precious\n" == (host / "rules.v4").read_text()


def test_the_sets_of_old_rules_are_there_until_the_new_rules_are(host: "Keeping") -> None:
    """Whatever moment the power fails in: the rules on disk find their sets in the sets' file."""
    host.sets(SETS)
    host.rules(MATCH)
    host.save()
    host.namespace.run(host.tools.test_v4[0], text="*filter\nCOMMIT\n")
    host.namespace.run("ipset", "destroy")
    host.sets(SETS.replace("dp-peers-4", "dp-others-4"))
    host.rules(MATCH.replace("dp-peers-4", "dp-others-4"))
    moments: list[frozenset[str]] = []

    def watched(path: "Path", text: str, old: files.Old | None) -> None:
        replaced(path, text, old)
        rules, sets = (host / "rules.v4").read_text(), (host / "ipsets").read_text()
        moments.append(dump.names_of_sets(rules) - dump.sets_in(sets))

    replaced = files.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "replace", watched)
        host.save()
    assert len(moments) > 2
    assert {frozenset()} == set(moments)
    assert "dp-peers-4" not in (host / "ipsets").read_text()


def test_sets_of_rules_that_could_not_be_saved_stay_in_their_file(host: "Keeping") -> None:
    """While a rules file still names a set that is gone, the sets' file still has it; afterwards no more."""
    host.sets(SETS)
    host.rules(MATCH)
    host.save()
    host.namespace.run(host.tools.test_v4[0], text="*filter\nCOMMIT\n")
    host.namespace.run("ipset", "destroy")
    host.sets("create other hash:ip\n")
    assert Result.SAVED is host.save(layout=replace(host.layout, rules_v4=host / "nowhere"))["ipsets"].result
    assert "dp-peers-4" not in (host / "ipsets").read_text()
    (host / "ipsets").write_text(SETS)
    blocked = host.folder / "blocked"
    blocked.mkdir()
    (blocked / "rules.v4").write_text(f"*filter\n:INPUT ACCEPT [0:0]\n{MATCH}COMMIT\n")
    (blocked / "rules.v4.droplan-bak").mkdir()
    done = host.save(layout=replace(host.layout, rules_v4=blocked / "rules.v4"))
    assert (Result.FAILED, Result.SAVED) == (done["rules.v4"].result, done["ipsets"].result)
    assert "add dp-peers-4 10.10.0.9\n" in (host / "ipsets").read_text()
    assert "create other " in (host / "ipsets").read_text()


def test_a_symbolic_link_is_followed(host: "Keeping") -> None:
    """Where a link stands in the file's place its target is replaced, and the link stays."""
    (host / "elsewhere").mkdir()
    (host / "elsewhere" / "v4").write_text("# old\n")
    (host / "rules.v4").symlink_to(host / "elsewhere" / "v4")
    host.rules(RULE)
    host.save()
    assert (host / "rules.v4").is_symlink()
    assert RULE in (host / "elsewhere" / "v4").read_text()
    assert "# old\n" == (host / "elsewhere" / "v4.droplan-bak").read_text()


def test_a_dry_run_tells_and_writes_nothing(host: "Keeping") -> None:
    """`dry_run` says the same as the save would, and no file is made or changed."""
    host.sets(SETS)
    host.rules(RULE + MATCH)
    (host / "rules.v4").write_text("# old\n")
    told = host.namespace.call(host.keeper().save, dry_run=True)
    assert {"rules.v4": "# old\n"} == {path.name: path.read_text() for path in host.folder.iterdir()}
    done = host.save()
    assert {saved.path.name: saved.result for saved in told} == {
        name: saved.result for name, saved in done.items()
    }


def test_keep_raises_what_failed_and_saves_the_rest(host: "Keeping") -> None:
    """One file that cannot be written keeps no other from being saved; the error names it and its errno."""
    host.rules(RULE)
    host.rules(RULE.replace("10.10.0.9/32", "2001:db8::9/128"), family=6)
    (host / "rules.v4").mkdir()
    with pytest.raises(StoreFailed, match=r"rules\.v4 is not a regular file") as caught:
        host.namespace.call(host.keeper().keep, None)
    assert errno.EINVAL == caught.value.errno
    assert "2001:db8::9" in (host / "rules.v6").read_text()


def test_a_full_disk_leaves_the_old_file(host: "Keeping") -> None:
    """With no space left the old content stands whole, nothing is left beside it, and the errno is said."""
    place = host.folder / "small"
    place.mkdir()
    full = place / "rules.v4"

    def mounted() -> None:
        # a mount namespace of this thread alone: nobody else sees the file system
        import ctypes  # noqa: PLC0415

        libc = ctypes.CDLL(None, use_errno=True)
        assert 0 == libc.unshare(0x00020000)
        assert 0 == libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)
        assert 0 == libc.mount(b"none", str(place).encode(), b"tmpfs", 0, b"size=16k")
        full.write_text("# old\n")
        (place / "filler").write_bytes(b"x" * 8192)

    host.namespace.call(mounted)
    host.rules("".join(RULE.replace("10.10.0.9", f"10.10.{n // 250}.{n % 250}") for n in range(1, 400)))
    keeper = IptablesKeeper(Layout(full), host.tools)
    with pytest.raises(StoreFailed) as caught:
        host.namespace.call(keeper.keep, None)
    assert errno.ENOSPC == caught.value.errno
    assert "# old\n" == host.namespace.call(full.read_text)
    beside = host.namespace.call(lambda: {path.name for path in place.iterdir()})
    assert beside <= {"rules.v4", "filler", "rules.v4.droplan-bak"}


def test_missing_programs_are_told(namespace: "Namespace", tmp_path: "Path") -> None:
    """One family's tool may be missing; with both it is a failure that names the program."""
    no_v6 = replace(Tools(), save_v6=("no-such-ip6tables-save",))
    layout = Layout(tmp_path / "rules.v4", tmp_path / "rules.v6")
    done = {saved.path.name: saved for saved in namespace.call(IptablesKeeper(layout, no_v6).save)}
    assert Result.SKIPPED is done["rules.v6"].result
    assert Result.FAILED is not done["rules.v4"].result
    none = replace(no_v6, save_v4=("no-such-iptables-save",))
    with pytest.raises(StoreFailed, match="no-such-iptables-save is not installed"):
        namespace.call(IptablesKeeper(layout, none).keep, None)


def test_without_ipv6_the_other_family_is_saved(host: "Keeping") -> None:
    """A kernel without IPv6 has no ip6tables to save; that is no failure."""
    host.rules(RULE)
    keeper = replace(host.keeper(), ipv6=host / "nothing")
    host.namespace.call(keeper.keep, None)
    assert RULE in (host / "rules.v4").read_text()
    assert not (host / "rules.v6").exists()
