"""Labels from a folder per class, with or without folders for the splits above them."""

from __future__ import annotations

from pathlib import Path

from leafscout.photos.decode import list_photos
from leafscout.photos.findings import Finding, error, warning
from leafscout.photos.label_rows import LabelRow, LabelRows, LabelWords


def read_folder_rows(data: Path, words: LabelWords, findings: list[Finding]) -> LabelRows | None:
    """Read a folder per class.

    Args:
        data: the folder above the class folders, or above ``train``, ``val`` and ``test``.
        words: which names mean healthy.
        findings: problems are added here.

    Returns:
        The entries, or None when the folder has no class folders.
    """
    folders = _subfolders(data)
    if not folders:
        findings.append(
            error(
                "bad_labels",
                f"Expected {data} to hold a folder per class or a labels.csv, but found neither.",
                data,
            )
        )
        return None
    split_folders = [folder for folder in folders if words.read_split(folder.name)]
    if not split_folders:
        rows = _read_classes(data, data, None, words, findings)
        return LabelRows(tuple(rows), None, "a folder per class")
    findings += [
        error(
            "bad_labels",
            f"{data} holds folders for splits ({split_folders[0].name}) beside {folder.name}. "
            f"Move {folder.name} into a split or out of {data}.",
            folder,
        )
        for folder in folders
        if folder not in split_folders
    ]
    rows = []
    for folder in split_folders:
        rows += _read_classes(data, folder, words.read_split(folder.name), words, findings)
    return LabelRows(tuple(rows), None, "a folder per class inside folders per split")


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _read_classes(
    data: Path, parent: Path, split: str | None, words: LabelWords, findings: list[Finding]
) -> list[LabelRow]:
    rows = []
    for folder in _subfolders(parent):
        photos = list_photos(folder)
        if not photos:
            findings.append(
                error(
                    "empty_class",
                    f"The folder {folder} of the class {folder.name} holds no photos. "
                    "Add photos or remove the folder.",
                    folder,
                )
            )
        healthy = words.means_healthy(folder.name)
        labels: frozenset[str] = frozenset() if healthy else frozenset([folder.name])
        rows += [
            LabelRow(
                path=photo,
                name=photo.relative_to(data).as_posix(),
                labels=labels,
                file=folder,
                split=split,
            )
            for photo in photos
        ]
    loose = [photo for photo in list_photos(parent) if photo.parent == parent]
    if loose:
        findings.append(
            warning(
                "bad_labels",
                f"{len(loose)} photos lie directly in {parent}, outside its class folders, and are "
                f"not used; the first is {loose[0].name}.",
                loose[0],
            )
        )
    return rows
