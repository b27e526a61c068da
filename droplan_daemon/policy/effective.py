"""The Policy of one Droplet: overrides applied, rules of others left out. PURE.

Law: what comes out has neither overrides nor rules that this Droplet does not enforce, and is
a fixed point: applying it again changes nothing.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from droplan_daemon.model.policy import Unset

from .pick import droplets

if TYPE_CHECKING:
    from droplan_daemon.model.policy import (
        Firewall,
        FirewallOverride,
        InterfaceOverride,
        InterfacePolicy,
        Override,
        Policy,
    )
    from droplan_daemon.model.selector import Selector

    from .scene import Scene


def effective(policy: "Policy", scene: "Scene") -> "Policy":
    """The Policy of the Scene's own Droplet."""
    for override in policy.overrides:
        if concerns(override.on, scene):
            policy = _overridden(policy, override)
    allows = tuple(allow for allow in policy.allows if concerns(allow.on, scene))
    return replace(policy, overrides=(), allows=allows)


def concerns(on: "Selector", scene: "Scene") -> bool:
    """Whether it picks our own Droplet."""
    return scene.own.id in droplets(on, scene)


def _overridden(policy: "Policy", override: "Override") -> "Policy":
    return replace(
        policy,
        mode=override.mode or policy.mode,
        private=_interface(policy.private, override.private),
        public=_interface(policy.public, override.public),
        denied_log=policy.denied_log if isinstance(override.denied_log, Unset) else override.denied_log,
        firewall=_firewall(policy.firewall, override.firewall),
    )


def _firewall(before: "Firewall", override: "FirewallOverride") -> "Firewall":
    return replace(
        before,
        backend=override.backend or before.backend,
        ipset=before.ipset if override.ipset is None else override.ipset,
    )


def _interface(before: "InterfacePolicy", override: "InterfaceOverride") -> "InterfacePolicy":
    return replace(
        before,
        managed=before.managed if override.managed is None else override.managed,
        allow_peers=before.allow_peers if override.allow_peers is None else override.allow_peers,
        outbound=override.outbound or before.outbound,
    )
