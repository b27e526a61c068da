"""The file's shape: every key, its form, default and meaning, in one place.

Law: a key exists here or not at all; defaults that `model.policy` has are taken from there. What
reads the shape (`check`, the manual) does so through `keys`.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from droplan_daemon.model.fleet import InterfaceKind
from droplan_daemon.model.policy import (
    BackendName,
    InterfacePolicy,
    Mode,
    Outbound,
    Peers,
    Policy,
    Ports,
    Rate,
    Scope,
)
from droplan_daemon.model.selector import Selector

from . import forms, rules
from .forms import Form
from .values import IptablesSave, SourceKind, Unrestored

if TYPE_CHECKING:
    from enum import StrEnum

_POLICY = Policy()


def _words(enum: "type[StrEnum]") -> Form:
    *most, last = (f'"{member}"' for member in enum)
    return Form(f"{', '.join(most)} or {last}")


Flag = Annotated[bool, Form("true or false")]
FilePath = Annotated[str, PlainValidator(forms.path), Form("the path of a file, in quotes")]
PromFile = Annotated[
    str, PlainValidator(forms.prom_file), Form("the path of a file whose name ends in .prom, in quotes")
]
Listen = Annotated[
    tuple[str, int],
    PlainValidator(forms.listen),
    Form('an address and a port in quotes, such as "127.0.0.1:9753" or "[::1]:9753"'),
]
Interval = Annotated[
    float, PlainValidator(forms.duration), Form('a duration in quotes, such as "30s", "5m" or "1h"')
]
ApiUrl = Annotated[str, PlainValidator(forms.api_url), Form('a URL, such as "https://api.digitalocean.com"')]
MetadataUrl = Annotated[
    str, PlainValidator(forms.metadata_url), Form('a URL, such as "http://169.254.169.254"')
]
TagName = Annotated[
    str,
    PlainValidator(forms.tag),
    Form("the name of a tag: 1 to 255 letters, digits, underscores, colons and hyphens"),
]
Members = Annotated[int, PlainValidator(forms.members), Form("a whole number, such as 20000")]
Staleness = Annotated[
    float | None,
    PlainValidator(forms.staleness),
    Form('a duration in quotes, such as "12h" or "2d", or "off"'),
]
Denied = Annotated[
    Rate | None,
    PlainValidator(forms.rate),
    Form('a rate such as "60/minute" (also second, hour, day), or "off"'),
]
ModeWord = Annotated[Mode, PlainValidator(forms.choice(Mode)), _words(Mode)]
OutboundWord = Annotated[Outbound, PlainValidator(forms.choice(Outbound)), _words(Outbound)]
Backend = Annotated[BackendName, PlainValidator(forms.choice(BackendName)), _words(BackendName)]
RuleName = Annotated[
    str,
    PlainValidator(rules.name),
    Form("a name: 1 to 64 letters, digits, blanks and signs (ASCII, no quotes, no backslash)"),
]
_SELECTOR = 'a selector, such as "tag:web"'
OnSelector = Annotated[Selector, PlainValidator(rules.droplets), Form(_SELECTOR)]
Who = Annotated[
    list[Annotated[Selector, PlainValidator(rules.selector), Form(_SELECTOR)]],
    BeforeValidator(rules.one_or_more),
    Form(f"{_SELECTOR}, or a list of them"),
]
PortList = Annotated[
    list[
        Annotated[
            Ports,
            PlainValidator(rules.ports),
            Form('a port and its protocol, such as "80/tcp" or "8000-8100/udp", or "icmp" or "icmpv6"'),
        ]
    ],
    BeforeValidator(rules.some_ports),
    Form('a list of ports, such as ["80/tcp"]'),
]

WaysIn = Annotated[
    list[
        Annotated[
            Ports,
            PlainValidator(rules.way_in),
            Form('a port and its protocol, such as "22/tcp" or "60000-61000/udp"'),
        ]
    ],
    BeforeValidator(rules.some_ways_in),
    Form('a list of ports, such as ["22/tcp"]'),
]


class Section(BaseModel):
    """A table of the file: no key that is not here, no value of another type."""

    # Inputs may be secrets: an error of pydantic's never repeats them.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class SourceSection(Section):
    """Where the fleet comes from."""

    kind: Annotated[SourceKind, PlainValidator(forms.choice(SourceKind)), _words(SourceKind)] = Field(
        SourceKind.DIGITALOCEAN,
        description='Where the fleet comes from: the DigitalOcean API, or a file (then "path" names it).',
    )
    url: ApiUrl = Field(
        "https://api.digitalocean.com",
        description="The API. Plain http is accepted only to a loopback address.",
    )
    metadata_url: MetadataUrl = Field(
        "http://169.254.169.254",
        description="The metadata service, which tells a Droplet who it is.",
    )
    token_file: FilePath | None = Field(
        None,
        examples=["/etc/droplan/token"],
        description="A file that holds the API token and nothing else. "
        "The systemd credential `token` comes before it, the environment variable DO_KEY after it.",
    )
    ca_file: FilePath | None = Field(
        None,
        examples=["/etc/droplan/ca.pem"],
        description="A PEM file with one more certificate authority to trust for the API.",
    )
    interval: Interval = Field(
        30.0,
        description="How often to ask at most. It is stretched to what the token's rate limit allows.",
    )
    path: FilePath | None = Field(
        None,
        examples=["/etc/droplan/fleet.json"],
        description='For kind = "file": a JSON file with what `GET /v2/droplets` answers.',
    )


class PeersSection(Section):
    """Who is a peer."""

    scope: Annotated[Scope, PlainValidator(forms.choice(Scope)), _words(Scope)] = Field(
        Peers().scope,
        description="Which Droplets are peers: those of this Droplet's VPC and its active peerings, "
        "of its region, or of the whole account.",
    )
    tag: TagName | None = Field(
        Peers().tag,
        examples=["production"],
        description="Peers also carry this tag. Upper and lower case are the same.",
    )
    max_peers: Members = Field(
        Peers().max_peers,
        description="How many Droplets may ever be let in. An answer that would let more in is refused, and "
        "what was enforced before it stays.",
    )
    max_stale: Staleness = Field(
        Peers().max_stale,
        examples=["12h"],
        description="After how long without a complete answer no Droplet is let in any more, until there is "
        "one. Addresses and prefixes that rules name stay. off, as without this key: Droplets stay, however "
        "long the API is away.",
    )


def _managed(default: InterfacePolicy) -> bool:
    return Field(
        default.managed, description="Let in only what is allowed. Otherwise this interface is left alone."
    )


def _outbound(default: InterfacePolicy) -> Outbound:
    return Field(
        default.outbound,
        description='What may leave by this interface. "drop": only what a rule with `to` allows, replies, '
        "and the [lifelines].",
    )


class PrivateSection(Section):
    """The VPC interface, found by what the Droplet knows of itself, never by name alone."""

    managed: Flag = _managed(_POLICY.private)
    allow_peers: Flag = Field(
        _POLICY.private.allow_peers, description="Let every peer reach every port, by its private address."
    )
    outbound: OutboundWord = _outbound(_POLICY.private)


class PublicSection(Section):
    """The Internet's interface, IPv4 and IPv6."""

    managed: Flag = _managed(_POLICY.public)
    allow_peers: Flag = Field(
        _POLICY.public.allow_peers, description="Let every peer reach every port, by its public addresses."
    )
    outbound: OutboundWord = _outbound(_POLICY.public)


class LogSection(Section):
    """What is written to the log."""

    denied: Denied = Field(
        _POLICY.denied_log,
        description="How many dropped packets to log at most, with the prefix `droplan DROP: `. "
        "All of them are counted in any case.",
    )


class FirewallSection(Section):
    """How the rules get into the kernel."""

    backend: Backend = Field(
        _POLICY.firewall.backend,
        description="What holds the rules. auto: iptables on a host whose own rules are kept by iptables "
        "(iptables-persistent or iptables-services is switched on and has rules to restore), else nftables.",
    )
    ipset: Flag = Field(
        _POLICY.firewall.ipset,
        description="With iptables: keep addresses in ip sets. false: one rule for each address, which "
        "needs no ip sets, and costs a packet the more the more peers there are.",
    )


class ManagementSection(Section):
    """How you get at a Droplet yourself, so that no policy locks you out by mistake."""

    ports: WaysIn = Field(
        list(_POLICY.management.ports),
        examples=["22/tcp", "60000-61000/udp"],
        description="The ports by which people log in: SSH's, and others that you would miss. A policy by "
        "which nobody reaches any of them is refused; `droplan panic` leaves them open.",
    )
    required: Flag = Field(
        _POLICY.management.required,
        description="Whether there must be a way in. false: this policy may close all of them.",
    )


class PersistSection(Section):
    """Where else the host's iptables rules are kept, so that its distribution restores them at boot."""

    iptables_save: Annotated[
        IptablesSave, PlainValidator(forms.choice(IptablesSave)), _words(IptablesSave)
    ] = Field(
        IptablesSave.AUTO,
        description="Whether to save all iptables rules of the host after each change. auto: with the "
        "backend iptables, where iptables-persistent or iptables-services is there to restore them. always: "
        "with either backend, whoever restores them. off: never.",
    )
    rules_v4: FilePath | None = Field(
        None,
        examples=["/etc/iptables/rules.v4"],
        description="The file for what iptables-save prints. Left out: where the distribution looks for it.",
    )
    rules_v6: FilePath | None = Field(
        None, examples=["/etc/iptables/rules.v6"], description="The same for ip6tables-save."
    )
    ipsets: FilePath | None = Field(
        None,
        examples=["/etc/iptables/ipsets"],
        description="The same for `ipset save`. Whoever restores the rules must restore this before them.",
    )


class BootSection(Section):
    """What holds from before the network is up until the daemon is ready. A shell reads it."""

    without_checkpoint: Annotated[
        Unrestored, PlainValidator(forms.choice(Unrestored)), _words(Unrestored)
    ] = Field(
        Unrestored.CLOSED,
        description="What to do when the ruleset that was enforced last cannot be restored. closed: by the "
        "private interface only replies come in, the public one is left alone. open: nothing is enforced.",
    )


class MetricsSection(Section):
    """Numbers for Prometheus. Neither key: none are told."""

    listen: Listen | None = Field(
        None,
        examples=["127.0.0.1:9753"],
        description="The address and port where Prometheus may ask. It takes the Python package "
        "prometheus_client, and for others than this machine a rule that lets them in.",
    )
    textfile: PromFile | None = Field(
        None,
        examples=["/var/lib/node_exporter/droplan.prom"],
        description="A file in the folder of node_exporter's textfile collector, written after each poll. "
        "The folder must be there, and the service must be let write to it.",
    )


class LifelinesSection(Section):
    """What stays alive on a managed interface whatever the rules say, each by its name."""

    icmp_errors: Flag = Field(
        default=True, description="In and out: ICMP errors, without which large packets vanish."
    )
    neighbour_discovery: Flag = Field(
        default=True,
        description="In and out: neighbour and router discovery, without which there is no IPv6.",
    )
    dhcp: Flag = Field(
        default=True, description="In and out: DHCP and DHCPv6, by which some images get their address."
    )
    dns: Flag = Field(default=True, description="Out: DNS, port 53 of any server.")
    ntp: Flag = Field(default=True, description="Out: the time, port 123 of any server.")
    metadata: Flag = Field(
        default=True, description="Out: the metadata service, by which a Droplet knows itself."
    )
    api: Flag = Field(
        default=True, description="Out: TCP port 443 of any server, where droplan asks for the fleet."
    )


class AllowSection(Section):
    """A rule: on some Droplets, traffic from (or to) somebody on some ports. As many as you like."""

    name: RuleName | None = Field(
        None,
        examples=["ssh from the bastion"],
        description="What the rule is called in plans, logs, metrics and the kernel; no two have the same. "
        "Without one it is called by what it says, such as `from tag:web: 80/tcp`.",
    )
    on: OnSelector = Field(
        rules.EVERY_DROPLET, description="The Droplets that enforce the rule. All others pass it over."
    )
    from_: Who | None = Field(
        None,
        alias="from",
        examples=["tag:web"],
        description="Who may come in. A rule has either `from` or `to`; of a list, anybody in it.",
    )
    to: Who | None = Field(
        None,
        examples=["tag:database"],
        description='Where the Droplet may go. It matters where `outbound = "drop"`.',
    )
    ports: PortList | None = Field(
        None,
        examples=["80/tcp", "8000-8100/udp", "icmp"],
        description="The destination ports, as the sender names them. Left out: every protocol and port.",
    )
    interface: Annotated[
        InterfaceKind, PlainValidator(forms.choice(InterfaceKind)), _words(InterfaceKind)
    ] = Field(InterfaceKind.PRIVATE, description="The interface that the rule is about.")


class InterfaceChanges(Section):
    """The keys of an interface section, none of which must be there."""

    managed: Flag | None = None
    allow_peers: Flag | None = None
    outbound: OutboundWord | None = None


_AS_IT_WAS = InterfaceChanges()


class LogChanges(Section):
    """The keys of [log], none of which must be there."""

    denied: Denied = None


class FirewallChanges(Section):
    """The keys of [firewall], none of which must be there."""

    backend: Backend | None = None
    ipset: Flag | None = None


class OverrideSection(Section):
    """What some Droplets have otherwise. Of several that concern a Droplet, later ones win, key by key."""

    on: OnSelector | None = Field(
        None, examples=["tag:database"], description="The Droplets that this is about. It must be there."
    )
    mode: ModeWord | None = Field(None, examples=[Mode.AUDIT], description="As `mode`.")
    private: Annotated[InterfaceChanges, Form("a table with keys of [private]")] = Field(
        _AS_IT_WAS, examples=[{"outbound": "drop"}], description="As in [private]."
    )
    public: Annotated[InterfaceChanges, Form("a table with keys of [public]")] = Field(
        _AS_IT_WAS, examples=[{"managed": True}], description="As in [public]."
    )
    log: Annotated[LogChanges, Form("a table with keys of [log]")] = Field(
        LogChanges(), examples=[{"denied": "off"}], description="As in [log]."
    )
    firewall: Annotated[FirewallChanges, Form("a table with keys of [firewall]")] = Field(
        FirewallChanges(), examples=[{"backend": "iptables"}], description="As in [firewall]."
    )


class File(Section):
    """The whole file."""

    mode: ModeWord = Field(
        _POLICY.mode,
        description="enforce: drop what is not allowed. audit: count and log it, drop nothing.",
    )
    source: SourceSection = SourceSection()
    peers: PeersSection = PeersSection()
    private: PrivateSection = PrivateSection()
    public: PublicSection = PublicSection()
    lifelines: LifelinesSection = LifelinesSection()
    log: LogSection = LogSection()
    firewall: FirewallSection = FirewallSection()
    management: ManagementSection = ManagementSection()
    persist: PersistSection = PersistSection()
    boot: BootSection = BootSection()
    metrics: MetricsSection = MetricsSection()
    override: list[OverrideSection] = Field(default_factory=list)
    allow: list[AllowSection] = Field(default_factory=list)
