"""Draw the pictures of docs/method.md, with names and sentences taken from the code itself.

    python docs/draw_method.py            write them
    python docs/draw_method.py --check    fail when a picture or the list of names is old

Names and sentences are those of the functions and classes as they are imported, so that a picture
cannot show what is not there.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from drawing.canvas import Canvas
from drawing.gradients import draw_gradients
from drawing.mathematics import draw_structure
from drawing.mechanism import draw_mechanism
from drawing.names import Named, name_of, sentence_of

from leafscout.diagnosis.calibrate import Calibration, fit_calibration
from leafscout.diagnosis.decide import healthy_probability
from leafscout.diagnosis.fuse import fill_unread, fuse_evidence
from leafscout.diagnosis.pooling import pool_tiles
from leafscout.evaluation.blind_zone import measure_blind_zone
from leafscout.evaluation.promise import certify_threshold, photos_needed
from leafscout.evaluation.thresholds import bagged_f1_thresholds
from leafscout.focus.expert import Expert
from leafscout.glance.choose import choose_tiles
from leafscout.glance.places import pool_places
from leafscout.glance.scout import Scout
from leafscout.glance.view import take_glance
from leafscout.losses.bag import bag_loss, exact_negative_loss
from leafscout.losses.evidence import evidence_loss
from leafscout.losses.sparsity import sparsity_loss
from leafscout.model import GlanceAndFocus
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.evidence_pass import gather_evidence
from leafscout.training.fit_rules import fit_choice, fit_glance_weights
from leafscout.training.scout_targets import evidence_targets
from leafscout.training.tile_selection import leave_out_best, rank_for_learning
from leafscout.training.warm_start import warm_start

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
PAGE = ROOT / "docs" / "method.md"
START, END = "<!-- names -->", "<!-- end of names -->"

DRAWINGS: dict[str, Callable[[], Canvas]] = {
    "method_mechanism": draw_mechanism,
    "method_gradients": draw_gradients,
    "method_mathematics": draw_structure,
}


NAMES: dict[str, tuple[Named, ...]] = {
    "the whole path": (GlanceAndFocus.forward,),
    "photo → glance, tiles": (take_glance, lay_tiles, cut_tiles),
    "glance": (Scout, pool_places, choose_tiles),
    "focus": (Expert, pool_tiles, fill_unread),
    "decide": (fuse_evidence, Calibration, healthy_probability),
    "learn: expert": (warm_start, rank_for_learning, leave_out_best, bag_loss,
                      exact_negative_loss, sparsity_loss),
    "learn: scout": (gather_evidence, evidence_targets, evidence_loss),
    "fit": (fit_choice, fit_glance_weights, fit_calibration, bagged_f1_thresholds),
    "promise, doubt": (certify_threshold, photos_needed, measure_blind_zone),
}  # fmt: skip
"""Part of the method → what does it."""


def list_names() -> str:
    """The table of the method's parts, with links to their files."""
    lines = ["| part | name | what it does |", "|---|---|---|"]
    for part, things in NAMES.items():
        for thing in things:
            file = (
                Path(inspect.getsourcefile(inspect.unwrap(thing)) or "").resolve().relative_to(ROOT)
            )
            link_to = f"[`{name_of(thing)}`](../{file.as_posix()})"
            lines.append(f"| {part} | {link_to} | {sentence_of(thing)} |")
            part = ""
    return "\n".join(lines)


def make_files() -> dict[Path, str]:
    """Every file that this script writes, with its content."""
    page = PAGE.read_text(encoding="utf-8")
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"Expected the marks {START} and {END} in {PAGE.name}.")
    files = {PICTURES / f"{name}.svg": draw().render() for name, draw in DRAWINGS.items()}
    files[PAGE] = f"{before}{START}\n{list_names()}\n{END}{after}"
    return files


def main() -> None:
    """Write the drawings and the list of names, or check them."""
    stale = []
    for path, content in make_files().items():
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(content, encoding="utf-8")
    if "--check" in sys.argv and stale:
        raise SystemExit(f"{', '.join(stale)} differ from the code: run `make docs`.")


if __name__ == "__main__":
    main()
