"""Every section of the catalogue, in the order of the page."""

from . import (
    section_a,
    section_b,
    section_c,
    section_d,
    section_e,
    section_f,
    section_g,
    section_h,
    section_j,
)
from .catalogue import Fault, Section

SECTIONS: tuple[Section, ...] = (
    section_a.SECTION,
    section_b.SECTION,
    section_c.SECTION,
    section_d.SECTION,
    section_e.SECTION,
    section_f.SECTION,
    section_g.SECTION,
    section_h.SECTION,
    section_j.SECTION,
)


def every_fault() -> tuple[Fault, ...]:
    """All of them, in the order of the page."""
    return tuple(fault for section in SECTIONS for fault in section.faults)
