"""The distribution's own restorers read what was saved: the plugins of netfilter-persistent, unpacked.

Debian's packages are asked for with apt-get and unpacked into a folder; where that is not to be had, the
tests are skipped by name. Each plugin reads /etc/iptables, so it runs with a copy of it in a mount
namespace of its own.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplan_daemon.persist.keeper import Result
from droplan_daemon.persist.layout import DEBIAN, SIGNS, Layout, restored
from tests.persist.test_keeper import MATCH, OTHER, RULE, SETS

if TYPE_CHECKING:
    from tests.persist.conftest import Keeping

PACKAGES = ("netfilter-persistent", "iptables-persistent", "ipset-persistent")
PLUGINS = "usr/share/netfilter-persistent/plugins.d"


def cached() -> "Path":
    """Where packages stay between runs, so that one with a network serves many without."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "droplan" / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> "Path":
    """The files of the packages."""
    if os.geteuid() != 0 or not shutil.which("apt-get") or not shutil.which("unshare"):
        pytest.skip("the real netfilter-persistent needs root and Debian's apt-get")
    kept, folder = cached(), tmp_path_factory.mktemp("persistent")
    for package in PACKAGES:
        if not list(kept.glob(f"{package}_*.deb")):
            download(package, folder)
            for got in folder.glob(f"{package}_*.deb"):
                shutil.copy(got, kept / f".{got.name}.{os.getpid()}")
                (kept / f".{got.name}.{os.getpid()}").replace(kept / got.name)
        found = next(kept.glob(f"{package}_*.deb"), None)
        if found is None:
            pytest.skip(f"apt-get download does not give {package}, so the real plugins are not tried")
        subprocess.run(["dpkg-deb", "-x", found, folder / "root"], check=True)
    return folder / "root"


def download(package: str, folder: "Path") -> None:
    patience = ("-o", "Acquire::http::Timeout=10", "-o", "Acquire::Retries=0")
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["apt-get", "-qq", *patience, "download", package],
            cwd=folder,
            capture_output=True,
            check=False,
            timeout=60,
        )


def restore(host: "Keeping", unpacked: "Path") -> None:
    """What netfilter-persistent.service does at boot: every plugin in order, told to start."""
    script = (
        "mount -t tmpfs -o mode=755 none /mnt && mkdir /mnt/etc /mnt/work && "
        'mount -t overlay -o "lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work" none /etc && '
        'mkdir -p /etc/iptables && cp "$1"/* /etc/iptables/ && shift && '
        # Debian's own alternatives decide what `iptables` is; here it is the variant of the test.
        'mkdir /mnt/bin && for p in iptables ip6tables; do for e in "" -save -restore; do '
        'ln -s "$(command -v $p-$2$e)" /mnt/bin/$p$e; done; done && '
        'mount --bind /mnt/bin /usr/local/sbin && run-parts --exit-on-error -a start "$1"'
    )
    host.namespace.run(
        "unshare",
        "-m",
        "sh",
        "-e",
        "-c",
        script,
        "sh",
        str(host.folder),
        str(unpacked / PLUGINS),
        _variant(host),
    )


def _variant(host: "Keeping") -> str:
    return host.tools.save_v4[0].split("-")[1]


def test_the_real_plugins_restore_what_was_saved(host: "Keeping", unpacked: "Path") -> None:
    """After a reboot (an empty kernel) the sets and the rules of both families are as they were saved."""
    host.sets(SETS)
    host.rules(RULE + MATCH)
    host.rules(RULE.replace("10.10.0.9/32", "2001:db8::9/128"), family=6)
    host.save()
    for test in (host.tools.test_v4, host.tools.test_v6):
        host.namespace.run(test[0], text="*filter\nCOMMIT\n")
    host.namespace.run("ipset", "destroy")
    assert RULE not in host.namespace.run(*host.tools.save_v4)
    restore(host, unpacked)
    assert RULE + MATCH in host.namespace.run(*host.tools.save_v4)
    assert {Result.UNCHANGED} == set(host.results().values())


def test_what_was_saved_wins_over_what_stands(host: "Keeping", unpacked: "Path") -> None:
    """Where boot found other rules, restoring leaves those that were saved, and only them."""
    host.rules(RULE)
    host.save()
    host.rules(OTHER)
    restore(host, unpacked)
    found = host.namespace.run(*host.tools.save_v4)
    assert (True, False) == (RULE in found, OTHER in found)


def test_the_layout_is_that_of_the_packages(unpacked: "Path") -> None:
    """With the three packages installed all three files are saved, and their plugins read just those."""
    there = {sign for sign in SIGNS if (unpacked / str(sign).lstrip("/")).exists()}
    assert DEBIAN.files == restored(there)
    text = "".join(path.read_text() for path in (unpacked / PLUGINS).iterdir())
    paths = (DEBIAN.files.rules_v4, DEBIAN.files.rules_v6, DEBIAN.files.ipsets)
    assert [True] * 3 == [f"{path}\n" in text or f"{path} " in text for path in paths]
    assert Layout() != restored(there)
