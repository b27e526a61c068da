"""A Droplet that keeps its rules in iptables."""

from typing import TYPE_CHECKING

from droplan_daemon.backends.iptables import IptablesBackend
from tests.daemon.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from droplan_daemon.effects import Observation
    from tests.conftest import Namespace


class Tabled(Machine):
    """The same machine, whose configuration asks for iptables; `variant` is where the host has rules."""

    def __init__(self, namespace: "Namespace", folder: "Path", variant: str) -> None:
        super().__init__(namespace, folder)
        self._tables = namespace.call(IptablesBackend, variant)
        self.ipset = "true"
        self.variant = variant
        namespace.run(f"iptables-{variant}", "-A", "INPUT", "-i", "nobody", "-j", "ACCEPT")

    def __exit__(self, *_: object) -> None:
        self.namespace.call(self._tables.close)
        super().__exit__(*_)

    def write(self, more: str = "", *, source: str = "", interval: str = "0.2s") -> None:
        firewall = f'[firewall]\nbackend = "iptables"\nipset = {self.ipset}\n'
        super().write(more, source=f"{source}\n{firewall}", interval=interval)

    def observe(self) -> "Observation":
        return self.namespace.call(self._tables.observe)
