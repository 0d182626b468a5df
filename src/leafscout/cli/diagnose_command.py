"""``leafscout diagnose``: photos in; answers, tables, pictures and a page out."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leafscout.cli.options import AsJson, Run
from leafscout.errors import InputError

if TYPE_CHECKING:
    from leafscout.inference.load import Failure, PhotoDiagnosis
    from leafscout.types import Diagnosis, Pixels


def diagnose(
    run: Run,
    photos: Annotated[
        list[str],
        typer.Argument(help="Photos, folders of photos, or patterns.", show_default=False),
    ],
    as_json: AsJson = False,
    csv: Annotated[
        Path | None, typer.Option(help="Also write a CSV file, a row for each photo.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also write a picture of each diagnosis into this folder.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write one page with all diagnoses; opens offline.")
    ] = None,
) -> None:
    """Diagnose photos. With --json, standard output holds one JSON object a line for each photo.

    Exits with 1 when a photo could not be diagnosed; the others still are.
    """
    import leafscout
    from leafscout.reports.diagnosis_page import write_diagnosis_page
    from leafscout.reports.diagnosis_records import write_csv

    paths = find_photos(photos)
    for file in (csv, html):
        # Told before the work, not after it.
        if file is not None and not file.resolve().parent.is_dir():
            raise InputError(f"The folder of {file} does not exist. Make it, or name another one.")
    if overlay is not None:
        overlay.mkdir(parents=True, exist_ok=True)
    desk = _Desk(as_json=as_json, overlay=overlay, draw=overlay is not None or html is not None)
    answers = desk.handle(leafscout.load(run).diagnose_many(paths))
    if html is not None:
        # The page takes the diagnoses as they come: 200 pictures need not be held at once.
        write_diagnosis_page(html, ((done, shown) for done, shown in answers if shown is not None))
    for _ in answers:
        pass
    if csv is not None:
        write_csv(csv, desk.records)
    if desk.failed:
        typer.echo(f"{desk.failed} of {len(paths)} photos could not be diagnosed.", err=True)
        raise typer.Exit(1)


def find_photos(given: Iterable[str]) -> list[Path]:
    """The photos that files, folders and patterns name, each once, in the order given.

    Raises:
        InputError: when a folder holds no photos or a pattern fits nothing.
    """
    from leafscout.photos.decode import list_photos

    found: dict[Path, None] = {}
    for name in given:
        path = Path(name)
        if path.is_dir():
            some = list_photos(path)
            if not some:
                raise InputError(f"The folder {name} holds no photos. Name another one.")
        elif not path.exists() and glob.has_magic(name):
            # Path.glob takes no absolute patterns.
            matches = glob.glob(name, recursive=True)  # noqa: PTH207
            some = sorted(Path(match) for match in matches)
            if not some:
                raise InputError(f"No file fits the pattern {name!r}.")
        else:
            some = [path]
        found.update(dict.fromkeys(some))
    return list(found)


@dataclass
class _Desk:
    """Prints answers as they come, draws them where wanted, and keeps their records."""

    as_json: bool
    overlay: Path | None
    draw: bool
    records: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    _names: set[str] = field(default_factory=set)

    def handle(
        self, answers: Iterable[PhotoDiagnosis | Failure]
    ) -> Iterator[tuple[Diagnosis, Pixels | None]]:
        from leafscout.inference.load import Failure, write_picture

        for answer in answers:
            if isinstance(answer, Failure):
                self._fail(answer)
                continue
            record = answer.to_dict()
            self.records.append(record)
            if self.as_json:
                typer.echo(json.dumps(record, ensure_ascii=False))
            else:
                typer.echo(describe(answer.diagnosis))
            picture = answer.draw() if self.draw else None
            if self.overlay is not None and picture is not None:
                write_picture(self.overlay / self._free_name(answer.diagnosis.source), picture)
            yield answer.diagnosis, picture

    def _fail(self, failure: Failure) -> None:
        from leafscout.reports.diagnosis_records import failure_record

        self.failed += 1
        record = failure_record(failure.source, failure.error)
        self.records.append(record)
        typer.echo(f"Not diagnosed: {failure.error}", err=True)
        if self.as_json:
            typer.echo(json.dumps(record, ensure_ascii=False))

    def _free_name(self, source: str) -> str:
        # Photos of two folders may share a name, and no picture may take a photo's place.
        stem = f"{Path(source).stem}_diagnosis"
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return f"{name}.jpg"


def describe(diagnosis: Diagnosis) -> str:
    """One line for people: what was found, how sure, and how much was looked at."""
    found = ", ".join(
        f"{label} {prob:.2f}"
        for label, prob in zip(diagnosis.labels, diagnosis.label_probs, strict=True)
        if label in diagnosis.present
    )
    words = found or f"healthy {diagnosis.healthy_prob:.2f}"
    doubt = f"  unsure: {diagnosis.unsure}" if diagnosis.unsure else ""
    cost = diagnosis.cost
    return (
        f"{diagnosis.source}: {words}{doubt}  "
        f"({cost.tiles_read} of {cost.tiles_total} tiles looked at, {cost.seconds:.2f} s)"
    )
