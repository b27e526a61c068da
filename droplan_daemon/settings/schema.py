"""The file's shape: every key, its form, default and meaning, in one place.

Law: a key exists here or not at all. `check`, the manual and the commented default file are
made of `keys()`; defaults that `model.policy` has are taken from there.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from droplan_daemon.model.policy import InterfacePolicy, Mode, Peers, Policy, Rate, Scope

from . import forms
from .forms import Form
from .values import SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum

_POLICY = Policy()


def _words(enum: "type[StrEnum]") -> Form:
    *most, last = (f'"{member}"' for member in enum)
    return Form(f"{', '.join(most)} or {last}")


Flag = Annotated[bool, Form("true or false")]
FilePath = Annotated[str, PlainValidator(forms.path), Form("the path of a file, in quotes")]
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
Denied = Annotated[
    Rate | None,
    PlainValidator(forms.rate),
    Form('a rate such as "60/minute" (also second, hour, day), or "off"'),
]
Outbound = Annotated[str, PlainValidator(forms.only("accept", later="drop")), Form('"accept"')]


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


def _managed(default: InterfacePolicy) -> bool:
    return Field(
        default.managed, description="Let in only what is allowed. Otherwise this interface is left alone."
    )


def _outbound() -> str:
    return Field("accept", description='What may leave by this interface. "drop" comes in a later version.')


class PrivateSection(Section):
    """The VPC interface, found by what the Droplet knows of itself, never by name alone."""

    managed: Flag = _managed(_POLICY.private)
    allow_peers: Flag = Field(
        _POLICY.private.allow_peers, description="Let every peer reach every port, by its private address."
    )
    outbound: Outbound = _outbound()


class PublicSection(Section):
    """The Internet's interface, IPv4 and IPv6."""

    managed: Flag = _managed(_POLICY.public)
    allow_peers: Flag = Field(
        _POLICY.public.allow_peers, description="Let every peer reach every port, by its public addresses."
    )
    outbound: Outbound = _outbound()


class LogSection(Section):
    """What is written to the log."""

    denied: Denied = Field(
        _POLICY.denied_log,
        description="How many dropped packets to log at most, with the prefix `droplan DROP: `. "
        "All of them are counted in any case.",
    )


class FirewallSection(Section):
    """How the rules get into the kernel."""

    backend: Annotated[str, PlainValidator(forms.only("nftables", later="iptables")), Form('"nftables"')] = (
        Field("nftables", description='What holds the rules. "iptables" comes in a later version.')
    )


_RULES = "rules with selectors are not in this version yet"
_OVERRIDES = "sections for some Droplets only are not in this version yet"


class File(Section):
    """The whole file."""

    mode: Annotated[Mode, PlainValidator(forms.choice(Mode)), _words(Mode)] = Field(
        _POLICY.mode,
        description="enforce: drop what is not allowed. audit: count and log it, drop nothing.",
    )
    source: SourceSection = SourceSection()
    peers: PeersSection = PeersSection()
    private: PrivateSection = PrivateSection()
    public: PublicSection = PublicSection()
    log: LogSection = LogSection()
    firewall: FirewallSection = FirewallSection()
    allow: Annotated[None, PlainValidator(forms.later(_RULES))] = None
    override: Annotated[None, PlainValidator(forms.later(_OVERRIDES))] = None


@dataclass(frozen=True, slots=True)
class Key:
    """One key: dotted name, form in words, default and example as TOML (empty default: none), meaning."""

    name: str
    words: str
    default: str
    meaning: str
    example: str

    @property
    def section(self) -> str:
        """The table that it stands in, empty for the top."""
        return self.name.rpartition(".")[0]


def keys() -> tuple[Key, ...]:
    """Every key of the file, in its order."""
    return tuple(_keys(File, ""))


def sections() -> dict[str, str]:
    """Every table of the file, with its meaning."""
    return {
        name: (field.annotation.__doc__ or "")
        for name, field in File.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def _keys(model: type[Section], prefix: str) -> "Iterator[Key]":
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from _keys(annotation, f"{name}.")
        elif field.description:
            yield Key(
                name=f"{prefix}{name}",
                words=_form(field.metadata, annotation),
                default=_toml(field.default),
                meaning=field.description,
                example=_toml((field.examples or [field.default])[0]),
            )


def _form(metadata: list[object], annotation: object) -> str:
    """The Form's words; those of an optional key hang on the first member of its union."""
    nested = [
        note for part in getattr(annotation, "__args__", ()) for note in getattr(part, "__metadata__", ())
    ]
    return next(note.words for note in (*metadata, *nested) if isinstance(note, Form))


def _toml(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return f'"{value:g}s"'
        case _:
            return f'"{value}"'
