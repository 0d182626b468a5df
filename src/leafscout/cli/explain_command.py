"""``leafscout explain``: what a model looked at when it said what it said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from leafscout.cli.diagnose_command import find_photos
from leafscout.cli.options import AsJson, Run, Threads


def explain(
    run: Run,
    photos: Annotated[
        list[str],
        typer.Argument(help="Photos, folders of photos, or patterns.", show_default=False),
    ],
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="Explain this label. May be repeated; those found by default.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="cam, grad-cam, grad-cam++, saliency, integrated-gradients, or for transformers "
            "rollout, gradient-rollout, window-attention; the most telling one by default.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="For grad-cam: a layer by name; found by itself.", show_default=False),
    ] = None,
    gif: Annotated[
        bool, typer.Option("--gif", help="Also look layer by layer, and write films.")
    ] = False,
    over_epochs: Annotated[
        bool,
        typer.Option(
            "--over-epochs",
            help="A film of how the heat changed from epoch to epoch, of a run trained with "
            "--keep-epochs.",
        ),
    ] = False,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness", help="Also delete and insert the hottest places; takes longer."
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for pictures, films and JSON files.")] = Path(
        "explanations"
    ),
    as_json: AsJson = False,
    threads: Threads = None,
) -> None:
    """Show where the evidence for each label comes from: a picture for each label and view.

    Exits with 1 when a photo could not be explained; the others still are.
    """
    from leafscout.errors import PhotoError
    from leafscout.inference.explain_epochs import explain_epochs, find_epochs, write_epochs
    from leafscout.inference.explain_photo import Question, explain_photo
    from leafscout.inference.explanation_files import write_explanation
    from leafscout.inference.load import load

    paths = find_photos(photos)
    model = load(run, threads=threads)
    question = Question(
        labels=tuple(label) if label else None,
        method=method,
        layer=layer,
        faithful=faithfulness,
        by_layer=gif,
    )
    epochs = find_epochs(model) if over_epochs else None
    failed, taken = 0, set[str]()
    for path in paths:
        try:
            explanation = explain_photo(model, path, question)
        except PhotoError as error:
            failed += 1
            typer.echo(f"Not explained: {error}", err=True)
            continue
        stem = _free_stem(path, taken)
        record = write_explanation(explanation, out, stem, films=gif)
        if epochs is not None:
            films = explain_epochs(model, explanation, question, epochs)
            record["over_epochs"] = write_epochs(explanation, films, out, stem)
        typer.echo(json.dumps(record, ensure_ascii=False) if as_json else _describe(record))
    if not as_json:
        typer.echo(f"Pictures: {out}")
    if failed:
        typer.echo(f"{failed} of {len(paths)} photos could not be explained.", err=True)
        raise typer.Exit(1)


def _free_stem(path: Path, taken: set[str]) -> str:
    """Photos of two folders may share a name, and no explanation may take another's place."""
    stem, number = path.stem, 1
    while stem in taken:
        number += 1
        stem = f"{path.stem}_{number}"
    taken.add(stem)
    return stem


def _describe(record: dict[str, Any]) -> str:
    found = ", ".join(record["found"]) or "healthy"
    lines = [f"{record['source']}: {found}"]
    for view in record["views"]:
        for one in view["labels"]:
            place = one["hottest_px_xy"]
            where = f"hottest at {place[0]:.0f}, {place[1]:.0f} px" if place else "nothing hot"
            peak = f", {one['peak']:.2f}" if view["absolute"] else ""
            lines.append(
                f"  {one['label']} in the {view['view']} ({view['method']}): {where}{peak}"
            )
    lines += [
        f"  {film['label']} in the {film['view']}, {film['epochs']} epochs: {film['film']}"
        for film in record.get("over_epochs", ())
    ]
    lines += [f"  {note}" for note in record["notes"]]
    return "\n".join(lines)
