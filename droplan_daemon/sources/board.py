"""What the machine's board says of itself.

Law: only DigitalOcean's boards are believed, and only a number; anything else says nothing.

Source: cloud-init's DataSourceDigitalOcean, which takes the serial number for the Droplet's id.
"""

from contextlib import suppress
from pathlib import Path

from droplan_daemon.errors import HostUnknown

_IDENTITY = Path("/sys/class/dmi/id")
_DIGITS = 18


def confirm(expected: int, identity: Path = _IDENTITY) -> None:
    """Raise HostUnknown(`another_droplet`) where the board says that this is not the expected Droplet."""
    found = droplet_id(identity)
    if found not in {None, expected}:
        message = f"the checkpoint is of Droplet {expected}, and this is Droplet {found}"
        raise HostUnknown(message, reason="another_droplet")


def droplet_id(identity: Path = _IDENTITY) -> int | None:
    """The Droplet's id by its serial number, which root alone may read; None where that is not told."""
    with suppress(OSError, UnicodeDecodeError):
        if (identity / "sys_vendor").read_text().strip() != "DigitalOcean":
            return None
        serial = (identity / "product_serial").read_text().strip()
        return int(serial) if serial.isascii() and serial.isdigit() and len(serial) <= _DIGITS else None
    return None
