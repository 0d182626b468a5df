"""``leafscout diagnose``: photos in; answers, tables, pictures and a page out."""

from __future__ import annotations

import glob
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leafscout.cli.options import (
    LOOKS,
    RULES,
    AsJson,
    MaxMegapixels,
    RunOrExported,
    Runtime,
    Threads,
    Workers,
    set_limits,
)
from leafscout.cli.screen import show_progress
from leafscout.errors import InputError
from leafscout.plain_text import printable

if TYPE_CHECKING:
    from leafscout.inference.answer import Failure, PhotoDiagnosis
    from leafscout.inference.load import Model
    from leafscout.inference.many import Pace
    from leafscout.reports.journal import Journal
    from leafscout.types import Diagnosis, Pixels


def diagnose(
    run: RunOrExported,
    photos: Annotated[
        list[str],
        typer.Argument(help="Photos, folders of photos, or patterns.", show_default=False),
    ],
    as_json: AsJson = False,
    csv: Annotated[
        Path | None, typer.Option(help="Also write a CSV file, a row for each photo.")
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option("--jsonl", help="Also write a file with one JSON object a line for each."),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also write a picture of each diagnosis into this folder.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write one page with all diagnoses; opens offline.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with a --csv or --jsonl that was stopped; skip what it has."
        ),
    ] = False,
    thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help=f"Decide by other thresholds: {RULES}; fitted by `leafscout evaluate`.",
            show_default=False,
        ),
    ] = None,
    looks: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help=f"Look at each photo several times: {LOOKS}; fitted by `leafscout evaluate`.",
            show_default=False,
        ),
    ] = None,
    glance_px: Annotated[
        int | None,
        typer.Option(
            help="Long side of the glance: larger than the model's to find smaller lesions, for "
            "more time. Uses the scout that `leafscout glances` trained for it, if there is one.",
            show_default=False,
        ),
    ] = None,
    workers: Workers = None,
    runtime: Runtime = None,
    threads: Threads = None,
    max_megapixels: MaxMegapixels = None,
) -> None:
    """Diagnose photos. With --json, standard output holds one JSON object a line for each photo.

    Exits with 1 when a photo could not be diagnosed; the others still are.
    """
    import leafscout
    from leafscout.inference.looks import answer_with
    from leafscout.inference.raised_glance import raise_glance
    from leafscout.reports.diagnosis_page import write_diagnosis_page

    set_limits(max_megapixels)
    paths = find_photos(photos)
    _check_outputs(csv, jsonl, html, resume=resume)
    if overlay is not None:
        overlay.mkdir(parents=True, exist_ok=True)
    model = leafscout.load(run, runtime=runtime, threads=threads)
    if glance_px is not None:
        model, said = raise_glance(model, glance_px)
        if said:
            typer.echo(said, err=True)
    model, doubts = answer_with(model, thresholds=thresholds, looks=looks)
    for doubt in doubts:
        typer.echo(printable(doubt), err=True)
    journal = _open_journal(jsonl or csv, model, looks, resume=resume)
    done = journal.answered() if journal else set()
    todo = [path for path in paths if str(path) not in done]
    if len(todo) < len(paths):
        before = len(paths) - len(todo)
        typer.echo(f"{before} of {len(paths)} photos were diagnosed before.", err=True)
    desk = _Desk(
        as_json=as_json,
        overlay=overlay,
        draw=overlay is not None or html is not None,
        journal=journal,
    )
    desk.reserve_names(paths)
    with _show_progress_beside_output() as progress:
        found = model.diagnose_many(todo, pace=_choose_pace(workers))
        answers = desk.handle(_count(found, len(todo), progress))
        if html is not None:
            # The page takes the diagnoses as they come: 200 pictures need not be held at once.
            write_diagnosis_page(
                html, ((one, shown) for one, shown in answers if shown is not None)
            )
        for _ in answers:
            pass
    if journal is not None:
        _write_records(journal, paths, csv, jsonl)
    if desk.failed:
        typer.echo(f"{desk.failed} of {len(paths)} photos could not be diagnosed.", err=True)
        raise typer.Exit(1)


def _check_outputs(
    csv: Path | None, jsonl: Path | None, html: Path | None, *, resume: bool
) -> None:
    for file in (csv, jsonl, html):
        # Told before the work, not after it.
        if file is not None and not file.resolve().parent.is_dir():
            raise InputError(f"The folder of {file} does not exist. Make it, or name another one.")
    if resume and csv is None and jsonl is None:
        raise InputError("--resume goes on with a file: name it with --csv or --jsonl.")
    if resume and html is not None:
        raise InputError(
            "A page needs the pictures of all photos, and --resume skips some of them. "
            "Leave out --html or --resume."
        )


def _open_journal(
    target: Path | None, model: Model, looks: str | None, *, resume: bool
) -> Journal | None:
    from leafscout.reports.journal import open_journal

    if target is None:
        return None
    depends_on = model.manifest.model_dump_json() + (looks or "")
    fingerprint = hashlib.sha256(depends_on.encode()).hexdigest()
    return open_journal(target, fingerprint, resume=resume)


def _write_records(
    journal: Journal, paths: list[Path], csv: Path | None, jsonl: Path | None
) -> None:
    from leafscout.reports.diagnosis_records import write_csv, write_json_lines

    records = [journal.records[str(path)] for path in paths]
    if csv is not None:
        write_csv(csv, records)
    if jsonl is not None:
        write_json_lines(jsonl, records)
    journal.close()


def _choose_pace(workers: int | None) -> Pace:
    from leafscout.inference.many import DEFAULT_PACE, Pace

    return DEFAULT_PACE if workers is None else Pace(workers=workers, ahead=2 * workers + 2)


@contextmanager
def _show_progress_beside_output() -> Iterator[Callable[[int, int], None]]:
    """A bar where the answers go elsewhere; on a terminal they are the progress themselves."""
    if sys.stdout.isatty():
        yield lambda _done, _total: None
        return
    with show_progress("diagnosing", redirect=False) as progress:
        yield progress


def _count(
    answers: Iterable[PhotoDiagnosis | Failure], total: int, progress: Callable[[int, int], None]
) -> Iterator[PhotoDiagnosis | Failure]:
    for number, answer in enumerate(answers, start=1):
        yield answer
        progress(number, total)


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
    journal: Journal | None = None
    failed: int = 0
    _names: dict[str, str] = field(default_factory=dict)

    def reserve_names(self, paths: Iterable[Path]) -> None:
        """Name each photo's picture; the same photos get the same names, resumed or not."""
        # Photos of two folders may share a name, and no picture may take a photo's place.
        taken: set[str] = set()
        for path in paths:
            stem = f"{path.stem}_diagnosis"
            name, number = stem, 1
            while name in taken:
                number += 1
                name = f"{stem}_{number}"
            taken.add(name)
            self._names[str(path)] = f"{name}.jpg"

    def handle(
        self, answers: Iterable[PhotoDiagnosis | Failure]
    ) -> Iterator[tuple[Diagnosis, Pixels | None]]:
        from leafscout.inference.answer import Failure, write_picture

        for answer in answers:
            if isinstance(answer, Failure):
                self._fail(answer)
                continue
            record = answer.to_dict()
            if self.as_json:
                typer.echo(json.dumps(record, ensure_ascii=False))
            else:
                typer.echo(describe(answer.diagnosis))
            picture = answer.draw() if self.draw else None
            if self.overlay is not None and picture is not None:
                name = self._names[answer.diagnosis.source]
                write_picture(self.overlay / name, picture)
            # Last: what is in the journal is wholly done.
            self._note(record)
            yield answer.diagnosis, picture

    def _fail(self, failure: Failure) -> None:
        from leafscout.reports.diagnosis_records import failure_record

        self.failed += 1
        record = failure_record(failure.source, failure.error)
        self._note(record)
        typer.echo(f"Not diagnosed: {failure.error}", err=True)
        if self.as_json:
            typer.echo(json.dumps(record, ensure_ascii=False))

    def _note(self, record: dict[str, Any]) -> None:
        if self.journal is not None:
            self.journal.append(record)


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
    return printable(
        f"{diagnosis.source}: {words}{doubt}  "
        f"({cost.tiles_read} of {cost.tiles_total} tiles looked at, {cost.seconds:.2f} s)"
    )
