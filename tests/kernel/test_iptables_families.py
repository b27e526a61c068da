"""The iptables backend where there are programs for one family only, or where the kernel has no IPv6."""

from functools import partial
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.backends.iptables import IptablesBackend
from droplan_daemon.diff import diff
from droplan_daemon.errors import KernelUnsupported
from droplan_daemon.model.policy import InterfacePolicy, Outbound, Policy
from droplan_daemon.reconcile import flush, put
from tests.kernel import absent
from tests.kernel.wires import THE_OTHER, THE_PEER, compiled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel

BOTH = Policy(
    private=InterfacePolicy(managed=True, allow_peers=True, outbound=Outbound.DROP),
    public=InterfacePolicy(managed=True, allow_peers=True),
)
DESIRED, NEXT = compiled(BOTH, THE_PEER), compiled(BOTH, THE_PEER, THE_OTHER)
_LACKS: "dict[str, tuple[Callable[[Path], None], str, str, str]]" = {
    "no ip6tables": (
        lambda folder: absent.programs(folder, "ip6tables"),
        "iptables",
        "4",
        "IPv6: there is no",
    ),
    "no iptables": (
        lambda folder: absent.programs(folder, "iptables"),
        "ip6tables",
        "6",
        "IPv4: there is no",
    ),
    "no IPv6": (absent.ipv6, "iptables", "4", "IPv6: this kernel has none"),
}


@pytest.fixture(params=_LACKS)
def lacking(request: pytest.FixtureRequest, namespace: "Namespace", tmp_path: "Path") -> str:
    lack = _LACKS[request.param][0]
    try:
        namespace.call(lack, tmp_path)
    except PermissionError as error:
        pytest.skip(f"no mounts of our own: {error.strerror}; run as root, or with unshare -Urnm")
    return str(request.param)


@pytest.mark.parametrize("ipset", [True, False], ids=["with ip sets", "without"])
def test_one_family_is_enforced_and_a_second_look_has_nothing_to_do(
    lacking: str, ipset: bool, namespace: "Namespace"
) -> None:
    """The other is left out by name; whoever looks next, in whichever process, finds what is desired."""
    _, program, family, caution = _LACKS[lacking]
    make = partial(IptablesBackend, ipset=ipset)
    for desired in (DESIRED, NEXT):
        first, again = namespace.call(make), namespace.call(make)
        assert namespace.call(put, first, desired)
        assert not namespace.call(put, first, desired)
        assert not namespace.call(put, again, desired)
        (told,) = namespace.call(again.cautions)
        assert told.startswith(caution)
        for one in (first, again):
            namespace.call(one.close)
    rules = namespace.run(f"{program}-save")
    assert "-A INPUT -i eth1" in rules
    if ipset:
        names = set(namespace.run("ipset", "list", "-n").split())
        assert {family} == {name[-1] for name in names}
    last = namespace.call(make)
    assert namespace.call(flush, last)
    assert "droplan" not in namespace.run(f"{program}-save")
    assert "" == namespace.run("ipset", "list", "-n")
    namespace.call(last.close)


@pytest.mark.parametrize("lacking", ["no ip6tables", "no IPv6"], indirect=True)
def test_a_boot_script_leaves_the_family_out(lacking: str, namespace: "Namespace") -> None:
    """Boot does not shut a family off that droplan, for want of a program, never filtered."""
    assert lacking
    backend = namespace.call(IptablesBackend)
    text = backend.script(namespace.call(backend.fit, DESIRED))
    assert text.endswith("COMMIT\n#: ip6tables\n")
    assert "-I INPUT 1 -i eth1" in text
    assert "*filter" in backend.script(DESIRED).split("#: ip6tables\n")[1]


def test_a_family_that_comes_and_goes_is_followed(namespace: "Namespace", tmp_path: "Path") -> None:
    """Rules of a family whose programs were removed stay, sets too; when they are back all is repaired."""
    backend = namespace.call(IptablesBackend)
    namespace.call(put, backend, DESIRED)
    standing = namespace.run("ip6tables-save", "-t", "filter").splitlines()[1:-1]
    namespace.call(absent.programs, tmp_path, "ip6tables")
    assert namespace.call(put, backend, NEXT)
    assert not namespace.call(put, backend, NEXT)
    assert "dp-public-peers-6" in namespace.run("ipset", "list", "-n")
    namespace.call(absent.unbind)
    assert standing == namespace.run("ip6tables-save", "-t", "filter").splitlines()[1:-1]
    found = namespace.call(backend.observe)
    assert diff(found.ruleset, NEXT)
    namespace.call(put, backend, NEXT)
    assert NEXT == namespace.call(backend.observe).ruleset
    assert () == namespace.call(backend.cautions)
    namespace.call(backend.close)


def test_without_any_program_the_package_is_named(namespace: "Namespace", tmp_path: "Path") -> None:
    """Nothing can be left out any more: the daemon ends with what to install."""
    namespace.call(absent.programs, tmp_path, "iptables", "ip6tables")
    backend = namespace.call(IptablesBackend)
    with pytest.raises(KernelUnsupported, match="install the package iptables"):
        namespace.call(backend.observe)
    namespace.call(backend.close)
