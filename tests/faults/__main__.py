"""`python -m tests.faults`: writes docs/failure-modes.md."""

from pathlib import Path

from .page import render
from .proofs import proofs
from .sections import SECTIONS

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Write the page anew."""
    page = ROOT / "docs" / "failure-modes.md"
    page.write_text(render(SECTIONS, proofs(ROOT)), encoding="utf-8")


if __name__ == "__main__":
    main()
