"""Labels from a CSV file: a column of labels, or a 0/1 column per label."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from leafscout.photos.decode import PHOTO_SUFFIXES
from leafscout.photos.findings import Finding, error
from leafscout.photos.label_rows import LabelRow, LabelRows, LabelWords
from leafscout.plain_text import looks_like, undo_defuse

PHOTO_COLUMNS = (
    "image", "images", "file", "files", "filename", "file_name", "path", "photo", "photos",
    "image_path", "image_id",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "class", "classes", "disease", "diseases")

_DELIMITERS = ",;\t"
_PHOTO_FOLDERS = (".", "images", "photos", "train_images")
_ONE, _ZERO = {"1", "1.0", "true"}, {"0", "0.0", "false"}


class _RowError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Columns:
    photo: int
    labels: int | None
    one_hot: tuple[int, ...]
    group: int | None
    split: int | None
    header: tuple[str, ...]


def read_csv_rows(
    path: Path,
    words: LabelWords,
    photos_root: Path | None,
    findings: list[Finding],
    *,
    split: str | None = None,
) -> LabelRows | None:
    """Read a label file.

    UTF-8 with or without a byte-order mark, or UTF-16 with one; commas, semicolons or tabs.

    Args:
        path: the file.
        words: which names mean healthy.
        photos_root: the folder that photo names are relative to, tried first.
        findings: problems are added here.
        split: the split of all its photos, where the file has no such column.

    Returns:
        The entries without a problem, or None when the file cannot be understood at all.
    """
    lines = _read_lines(path, findings)
    if lines is None:
        return None
    columns = _understand_header(path, lines, findings)
    if columns is None:
        return None
    roots = [path.parent / folder for folder in _PHOTO_FOLDERS]
    reader = _RowReader(path, columns, words, [photos_root, *roots] if photos_root else roots)
    rows = []
    for number, cells in lines[1:]:
        try:
            rows.append(reader.read(number, cells, split))
        except _RowError as problem:
            findings.append(
                error(problem.code, f"{path.name}, row {number}: {problem}", path, number)
            )
    return LabelRows(
        tuple(rows), reader.label_order, reader.form, tuple(reader.list_ignored_columns())
    )


def names_photos_alone(path: Path) -> bool:
    """Whether a table has a column of photos and no other, as those that are to be answered."""
    lines = _read_lines(path, [])
    names = [name.lower() for name in lines[0][1] if name] if lines else []
    return len(names) == 1 and names[0] in PHOTO_COLUMNS


def _read_lines(path: Path, findings: list[Finding]) -> list[tuple[int, list[str]]] | None:
    """Rows that are not blank, each with the number of its first line."""
    row, lines = 1, list[tuple[int, list[str]]]()
    try:
        data = path.read_bytes()
        utf_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16" if utf_16 else "utf-8-sig")
        for number, cells in _split_lines(text):
            lines.append((number, cells))
            row = number + 1
    except OSError as problem:
        message = f"{path} cannot be read: {problem.strerror or problem}."
    except UnicodeDecodeError as problem:
        row = 1 + problem.object[: problem.start].count(b"\n")
        message = f"{path}, row {row}: this is not UTF-8 text. Save it as a CSV file in UTF-8."
    except UnicodeError:
        message = f"{path} is not UTF-8 text. Save it as a CSV file in UTF-8."
    except csv.Error as problem:
        message = f"{path}, row {row} or below: {path.name} is not a CSV file: {problem}."
    else:
        if len(lines) > 1:
            return lines
        message = f"{path} holds no rows below its header." if lines else f"{path} is empty."
    findings.append(error("bad_labels", message, path, row))
    return None


def _split_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    before = 0
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield before + 1, [undo_defuse(cell.strip()) for cell in cells]
        before = reader.line_num


def _understand_header(
    path: Path, lines: list[tuple[int, list[str]]], findings: list[Finding]
) -> _Columns | None:
    header = tuple(lines[0][1])
    plain = [name.lower() for name in header]

    def find(names: tuple[str, ...]) -> int | None:
        return next((plain.index(name) for name in names if name in plain), None)

    photo, labels = find(PHOTO_COLUMNS), find(LABEL_COLUMNS)
    group, split = find(("group",)), find(("split",))
    rest = [i for i in range(len(header)) if i not in (photo, group, split) and header[i]]
    message = None
    if photo is None:
        message = (
            f"{path}: expected a first row with a column named image (or images, file, filename, "
            f"path), but got {', '.join(header)}. Name the columns in the first row."
        )
    elif len(set(plain)) < len(plain):
        repeated = sorted({name for name in plain if plain.count(name) > 1})
        message = f"{path}: the column {repeated[0]} appears more than once. Rename or remove one."
    elif not rest:
        message = (
            f"{path}: expected a column named labels or a 0/1 column per label, but got only "
            f"{', '.join(header)}."
        )
    if message is not None or photo is None:
        findings.append(error("bad_labels", message or "", path, lines[0][0]))
        return None
    one_hot = () if labels is not None else tuple(rest)
    return _Columns(photo, labels, one_hot, group, split, header)


class _RowReader:
    """Reads the rows of one file whose columns are known."""

    def __init__(self, path: Path, columns: _Columns, words: LabelWords, roots: list[Path]) -> None:
        self.path, self.columns, self.words, self.roots = path, columns, words, roots
        self._looks: dict[Path, dict[str, str]] = {}
        names = {index: columns.header[index] for index in columns.one_hot}
        self.diseases = {i: name for i, name in names.items() if not words.means_healthy(name)}
        self.healthy = [i for i, name in names.items() if words.means_healthy(name)]
        one_hot = columns.labels is None
        self.label_order = tuple(self.diseases.values()) if one_hot else None
        self.form = "a 0/1 column per label" if one_hot else "a column of labels"

    def list_ignored_columns(self) -> list[str]:
        """The columns that say nothing to us."""
        known = self.columns
        used = {known.photo, known.labels, known.group, known.split, *known.one_hot}
        return [name for i, name in enumerate(known.header) if i not in used and name]

    def read(self, number: int, cells: list[str], split: str | None) -> LabelRow:
        """Read one row or raise ``_RowError``."""
        known = self.columns
        if len(cells) != len(known.header):
            raise _RowError(
                "bad_labels",
                f"expected {len(known.header)} cells as in the header, but got {len(cells)}. "
                "Put cells that contain the separator in quotes.",
            )
        name = cells[known.photo]
        if not name:
            raise _RowError("bad_labels", "the photo's name is empty. Name it or remove the row.")
        labels = self._read_list(cells) if known.labels is not None else self._read_one_hot(cells)
        return LabelRow(
            path=self._find_photo(name),
            name=name,
            labels=labels,
            file=self.path,
            row=number,
            group=(cells[known.group] or None) if known.group is not None else None,
            split=self._read_split(cells, split),
        )

    def _read_list(self, cells: list[str]) -> frozenset[str]:
        names = self.words.read_cell(cells[self.columns.labels or 0])
        if not names:
            raise _RowError(
                "bad_labels",
                "the label is empty. Write 'healthy' if the photo shows no disease.",
            )
        diseases = [name for name in names if not self.words.means_healthy(name)]
        if diseases and len(diseases) < len(names):
            self._refuse_healthy_beside(diseases)
        return frozenset(diseases)

    def _read_one_hot(self, cells: list[str]) -> frozenset[str]:
        present = {index for index in self.columns.one_hot if self._read_bit(cells, index)}
        diseases = [name for index, name in self.diseases.items() if index in present]
        healthy = any(index in present for index in self.healthy)
        if diseases and healthy:
            self._refuse_healthy_beside(diseases)
        if self.healthy and not diseases and not healthy:
            raise _RowError(
                "bad_labels",
                "no label is 1, not even healthy. Set the labels that the photo shows, or healthy.",
            )
        return frozenset(diseases)

    @staticmethod
    def _refuse_healthy_beside(diseases: list[str]) -> None:
        raise _RowError(
            "healthy_beside_disease",
            f"the photo is labelled healthy and {' and '.join(diseases)} at once. Keep one of "
            "them.",
        )

    def _read_bit(self, cells: list[str], index: int) -> bool:
        value = cells[index].lower()
        if value in _ONE or value in _ZERO:
            return value in _ONE
        raise _RowError(
            "bad_labels",
            f"expected 0 or 1 in the column {self.columns.header[index]}, but got "
            f"{cells[index]!r}. A column that is no label must be removed from the file.",
        )

    def _read_split(self, cells: list[str], split: str | None) -> str | None:
        column = self.columns.split
        if column is None or not cells[column]:
            return split
        found = self.words.read_split(cells[column])
        if found is None:
            raise _RowError(
                "bad_labels", f"expected the split train, val or test, but got {cells[column]!r}."
            )
        return found

    def _find_photo(self, name: str) -> Path:
        written = Path(PureWindowsPath(name).as_posix()) if "\\" in name else Path(name)
        for root in self.roots:
            path = root / written
            if _is_file(path):
                return path
        if written.suffix.lower() not in PHOTO_SUFFIXES:  # some tables name photos by their stem
            for root in self.roots:
                for suffix in PHOTO_SUFFIXES:
                    path = root / f"{written}{suffix}"
                    if _is_file(path):
                        return path
        looked = " or ".join(str(root) for root in self.roots)
        alike = self._find_alike(written)
        but = f", but one that looks like it, {alike}" if alike else ""
        raise _RowError(
            "missing",
            f"there is no photo {name} in {looked}{but}. Correct its name or remove the row.",
        )

    def _find_alike(self, written: Path) -> str | None:
        """A photo whose name differs in case, accents' encoding, or signs that cannot be seen."""
        for root in self.roots:
            folder = (root / written).parent
            if folder not in self._looks:
                there = folder.iterdir() if _is_folder(folder) else ()
                self._looks[folder] = {looks_like(path.name): path.name for path in there}
            alike = self._looks[folder].get(looks_like(written.name))
            if alike is not None:
                return alike
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or that no file can have
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
