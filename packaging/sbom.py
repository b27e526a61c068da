"""The bill of materials beside a package: CycloneDX 1.6 as JSON.

Laws:
1. The components are what requirements.txt locks, with its digests, and nothing else.
2. The same lock and the same date give the same text: its serial number is made of what it says.
"""

import re
import uuid
from datetime import UTC, datetime
from importlib.metadata import metadata, requires
from typing import TYPE_CHECKING

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LOCKED = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^ ;\\]+)(?P<rest>(?:.*\\\n)*.*)", re.MULTILINE)
_DIGEST = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PROGRAM = "droplan-daemon"


def bill(
    subject: Component,
    lock: str,
    epoch: int,
    *,
    python: str = "",
    extra: str = "",
    fetched: "Iterable[str] | None" = None,
) -> str:
    """The document about `subject`, whose libraries `lock` (the text of requirements.txt) names.

    `python` ("3.13"): the interpreter that it is for, else this one. `extra`: of ours that it has.
    `fetched`: sha256 digests of the files that went in, where not all that the lock allows did.
    """
    only = None if fetched is None else frozenset(fetched)
    found = (_component(one, only) for one in _LOCKED.finditer(lock))
    parts = {component.name: component for component in found}
    bom = Bom(components=parts.values())
    bom.metadata.component = subject
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.register_dependency(subject, _needed(_PROGRAM, parts, python, extra))
    for name, component in parts.items():
        bom.register_dependency(component, _needed(name, parts, python))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{subject.purl} {epoch} {sorted(only or ())} {lock}")
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def program(version: str) -> Component:
    """Our own distribution, as the wheel and the sdist are."""
    return _ours(PackageURL("pypi", name=_PROGRAM, version=version), version)


def deb(version: str, release: str) -> Component:
    """Our own package for a release of Debian ("bookworm")."""
    qualifiers = {"arch": "amd64", "distro": release}
    return _ours(PackageURL("deb", "debian", "droplan", version, qualifiers), version)


def _ours(purl: PackageURL, version: str) -> Component:
    licence = LicenseFactory().make_with_id("MIT")
    return Component(
        name=purl.name,
        version=version,
        type=ComponentType.APPLICATION,
        purl=purl,
        bom_ref=str(purl),
        licenses=[licence],
    )


def _component(found: "re.Match[str]", only: "frozenset[str] | None") -> Component:
    """One locked library; each file that may be it is a reference with its digest."""
    name, version = canonicalize_name(found["name"]), found["version"]
    digests = [digest for digest in _DIGEST.findall(found["rest"]) if only is None or digest in only]
    purl = PackageURL("pypi", name=name, version=version)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(text) for text in _licence(name)],
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(f"urn:sha256:{digest}"),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )
            for digest in digests
        ],
    )


def _licence(name: str) -> list[str]:
    """The licence as the library itself states it; of those of old, by its classifiers."""
    about = metadata(name)
    stated = next((about[key] for key in ("License-Expression", "License") if key in about), None)
    classified = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier", [])
        if line.startswith("License :: OSI")
    ]
    return [stated] if stated and "\n" not in stated else classified[:1]


def _needed(name: str, parts: "Mapping[str, Component]", python: str, extra: str = "") -> list[Component]:
    """The locked libraries that one asks for, with those of one extra."""
    here = {"extra": extra, **({"python_version": python} if python else {})}
    wanted = map(Requirement, requires(name) or ())
    met = (one for one in wanted if one.marker is None or one.marker.evaluate(here))
    return [parts[canonicalize_name(one.name)] for one in met if canonicalize_name(one.name) in parts]
