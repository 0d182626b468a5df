"""Draw the contact sheet: ``python -m leafscout.photos.synthetic --contact-sheet FILE``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from leafscout.errors import InputError
from leafscout.photos.synthetic.contact_sheet import draw_contact_sheet
from leafscout.photos.synthetic.settings import DEMO_FIELD, FieldSettings


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m leafscout.photos.synthetic")
    parser.add_argument("--contact-sheet", type=Path, required=True, metavar="FILE")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--demo", action="store_true", help="the small field of the demo")
    options = parser.parse_args(arguments)
    try:
        visible = FieldSettings(lesion_sizes_px=(24, 40, 80, 160), contrast_range=(0.5, 1.0))
        settings = DEMO_FIELD if options.demo else visible
        print(draw_contact_sheet(options.contact_sheet, settings, options.seed))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
