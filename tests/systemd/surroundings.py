"""What is around a machine: the wires, the emulated DigitalOcean, its peers, strangers, and probers.

All of it is in one network namespace of this process, which vanishes with it. The machine's own ends
of the wires are made anew for each boot, with the MACs and names that a Droplet has.
"""

import gc
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Self

from droplan_daemon.lab.authority import Authority
from droplan_daemon.lab.digitalocean import DigitalOcean
from droplan_daemon.lab.limits import Limiter, Limits
from droplan_daemon.lab.metadata import Metadata, fixed
from droplan_daemon.lab.netns import Namespace
from droplan_daemon.lab.scopes import FULL, Tokens
from droplan_daemon.lab.server import LabServer, serving
from droplan_daemon.lab.world import World

if TYPE_CHECKING:
    from droplan_daemon.lab.account import LabDroplet

TOKEN = "dop_v1_" + "5eed1e55" * 8
API = "203.0.113.2"
NAME = "api.droplan.test"
METADATA = "169.254.169.254"
STRANGER = "10.10.15.250"
STRANGER_OUTSIDE = "198.18.15.250"
PLENTY = Limits(hourly=10_000_000, burst=10_000_000)

_PROBER = Path(__file__).with_name("prober.py")


class Surroundings:
    """The account of `web-1` and of whoever is in its VPC, served at the usual addresses.

    `world` is the account, `cloud` and `metadata` the two services with their faults.
    """

    def __init__(self, folder: Path, *, peers: int = 3) -> None:
        self.folder = folder
        self.world = World()
        self.vpc = self.world.add_vpc("lab", ip_range="10.10.0.0/20" if peers < 4000 else "10.0.0.0/12")
        self.own = self.world.add_droplet("web-1", vpc=self.vpc.id, tags=("web",))
        self.peers = [self.world.add_droplet(f"peer-{n}", vpc=self.vpc.id) for n in range(1, peers + 1)]
        self.cloud = DigitalOcean(self.world, limiter=Limiter(PLENTY))
        self.metadata = Metadata(self.world, fixed(self.own.id))
        self.authority = Authority()
        self._stack = ExitStack()
        self._servers = ExitStack()
        self.outside = Namespace("outside")

    def __enter__(self) -> Self:
        self._stack.callback(self.outside.close)
        try:
            self.cloud.tokens = Tokens({TOKEN: FULL})
            self._lay()
            self.serve()
        except BaseException:
            self._stack.close()
            raise
        self._stack.callback(self._servers.close)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        with warnings.catch_warnings():
            # A machine that is cut off in the middle of a TLS handshake leaves a socket that nobody owns.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    @property
    def url(self) -> str:
        """The API."""
        return f"https://{API}"

    def serve(self) -> None:
        """The API and the metadata service answer."""
        sockets = (self.outside.listen(API, 443), self.outside.listen(METADATA, 80))
        api = LabServer(self.cloud, sock=sockets[0], tls=self.authority.server(API, NAME))
        self._servers.enter_context(serving(api, LabServer(self.metadata, sock=sockets[1])))

    def go_silent(self) -> None:
        """Neither of them is there any more: connections are refused."""
        self._servers.close()

    def name_server(self) -> None:
        """Answers on the API's address that NAME is there, too; for as long as this lasts."""
        asked = self.outside.open_socket(socket.AF_INET, socket.SOCK_DGRAM)
        asked.setblocking(True)
        self.outside.call(asked.bind, (API, 53))
        thread = Thread(target=_answer, args=(asked,), daemon=True)
        thread.start()

        def end() -> None:
            with suppress(OSError):
                asked.shutdown(socket.SHUT_RDWR)
            asked.close()
            thread.join(10)

        self._stack.callback(end)

    def configuration(self, more: str = "", *, interval: str = "1s", source: str = "", url: str = "") -> str:
        """A droplan.toml for this account."""
        lines = (
            f'url = "{url or self.url}"',
            'ca_file = "/etc/droplan/ca.pem"',
            f'interval = "{interval}"',
            source,
        )
        return "\n".join((more, "[source]", *lines, ""))

    @property
    def networkd(self) -> dict[str, str]:
        """What cloud-init would have written for this Droplet."""
        public, private = self.own.network("public"), self.own.network("private")
        assert public
        assert private
        outer = f"Address={public.address}/{public.prefix}\nGateway={public.gateway}\n"
        inner = f"Address={private.address}/{private.prefix}\n"
        rest = "LinkLocalAddressing=no\nIPv6AcceptRA=no\nConfigureWithoutCarrier=yes\n"
        return {
            "/etc/systemd/network/10-eth0.network": f"[Match]\nName=eth0\n[Network]\n{outer}{rest}",
            "/etc/systemd/network/10-eth1.network": f"[Match]\nName=eth1\n[Network]\n{inner}{rest}",
        }

    def wire(self, machine: Namespace, *, macs: "tuple[str, str] | None" = None) -> None:
        """Plug both cards of a machine that is about to boot into the wires."""
        cards = macs or (self.own.public_mac, self.own.private_mac)
        kinds = ("public", "private")
        for name, mac, segment in zip(("eth0", "eth1"), cards, kinds, strict=True):
            port = f"{segment}-port"
            end = f"/proc/{os.getpid()}/fd/{machine.fd}"
            self._run(
                "ip", "link", "add", port, "master", segment, "up", "type", "veth",
                "peer", "name", name, "address", mac, "netns", end,
            )  # fmt: skip
            network = self.own.network("public" if segment == "public" else "private")
            assert network
            # Its address is known by heart: the first packets of a boot wait for nobody.
            at = ("lladdr", mac, "dev", segment, "nud", "permanent")
            self._run("ip", "neighbour", "replace", network.address, *at)

    def unwire(self) -> None:
        """Pull both plugs: the kernel takes its time to end a namespace, and would go on answering."""
        for segment in ("public", "private"):
            command = ["ip", "link", "delete", f"{segment}-port"]
            self.outside.call(subprocess.run, command, capture_output=True, check=False, timeout=30)

    def _lay(self) -> None:
        """Two wires, and on them the provider, the peers' and the strangers' addresses."""
        self._run("ip", "link", "set", "lo", "up")
        public, private = self.own.network("public"), self.own.network("private")
        assert public
        assert private
        on = {
            "public": [
                f"{public.gateway}/{public.prefix}",
                f"{STRANGER_OUTSIDE}/{public.prefix}",
                f"{API}/32",
            ],
            "private": [f"{self.address(p)}/{private.prefix}" for p in self.peers[:3]],
        }
        on["private"].append(f"{STRANGER}/{private.prefix}")
        on["public"].append(f"{METADATA}/32")
        for segment, addresses in on.items():
            self._run("ip", "link", "add", segment, "type", "bridge")
            for address in addresses:
                self._run("ip", "address", "add", address, "dev", segment)
            self._run("ip", "link", "set", segment, "up")

    def address(self, droplet: "LabDroplet") -> str:
        """Its private address."""
        return str(droplet.address("private"))

    def probing(self, *probes: "Probing", name: str = "probes") -> "Record":
        """Start to probe; it goes on until `close`."""
        path = self.folder / f"{name}-{time.monotonic_ns()}"
        command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-IS", str(_PROBER), str(path)]
        process = self.outside.call(subprocess.Popen, [*command, *(p.text for p in probes)])
        record = Record(path, process)
        self._stack.callback(record.close)
        return record

    def _run(self, *argv: str) -> None:
        done = self.outside.call(
            subprocess.run, list(argv), capture_output=True, text=True, check=False, timeout=30
        )
        assert 0 == done.returncode, f"{argv}: {done.stderr}"


def _answer(asked: socket.socket) -> None:
    """RFC 1035: every question for an A record has one answer, and any other none."""
    while True:
        try:
            query, sender = asked.recvfrom(512)
        except OSError:
            return
        if not query:  # shut down
            return
        end = query.index(b"\0", 12) + 5
        found = query[end - 4 : end - 2] == b"\0\1"
        head = query[:2] + b"\x81\x80" + struct.pack("!4H", 1, int(found), 0, 0)
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(API)
        with suppress(OSError):
            asked.sendto(head + query[12:end] + (record if found else b""), sender)


@dataclass(frozen=True, slots=True)
class Probing:
    """One thing to try again and again: `kind` is tcp, udp, or fresh."""

    name: str
    kind: str
    source: str
    target: str

    @property
    def text(self) -> str:
        return f"{self.name},{self.kind},{self.source},{self.target},{80 if self.kind == 'tcp' else 7}"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in monotonic seconds."""

    begin: float
    end: float

    def __contains__(self, moment: float) -> bool:
        return self.begin <= moment <= self.end


class Record:
    """What a prober wrote down. Moments are monotonic seconds, which all processes of a machine share."""

    def __init__(self, path: Path, process: "subprocess.Popen[bytes]") -> None:
        self._path = path
        self._process = process

    def close(self) -> None:
        """Stop probing; what was written stays."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def events(self, event: str, name: str) -> "dict[int, float]":
        """When this happened to this probe, by number."""
        assert self._process.poll() in {None, -signal.SIGTERM}, "the prober died"
        found = {}
        text = self._path.read_text() if self._path.exists() else ""
        for line in text[: text.rfind("\n") + 1].splitlines():
            moment, what, who, number = line.split()
            if (what, who) == (event, name):
                found[int(number)] = float(moment)
        return found

    def sent(self, name: str, span: Span) -> list[int]:
        """The probes that left in this time."""
        return [n for n, at in self.events("sent", name).items() if at in span]

    def answered(self, name: str, span: Span) -> list[float]:
        """When somebody answered, for probes that left in this time."""
        answers = self.events("answer", name) | self.events("echo", name)
        return sorted(answers[n] for n in self.sent(name, span) if n in answers)

    def lost(self, name: str, span: Span, seconds: float = 10.0) -> list[float]:
        """When those left that nobody answered, not even within so many seconds from now."""
        end = time.monotonic() + seconds
        while True:
            answers = self.events("answer", name) | self.events("echo", name)
            sent = self.events("sent", name)
            missing = sorted(at for number, at in sent.items() if at in span and number not in answers)
            if not missing or time.monotonic() > end:
                return missing
            time.sleep(0.2)

    def first(self, name: str, after: float = 0.0) -> float | None:
        """The first answer after this moment."""
        answers = self.events("answer", name) | self.events("echo", name)
        return min((at for at in answers.values() if at > after), default=None)
