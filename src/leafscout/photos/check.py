"""Check photos and labels before training does: everything that is wrong, at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leafscout.errors import PhotoError
from leafscout.photos.findings import Finding, error, warning
from leafscout.photos.fingerprint import (
    Fingerprint,
    Progress,
    near_duplicate_groups,
    try_fingerprints,
)
from leafscout.photos.label_names import find_label_row
from leafscout.photos.label_table import DEFAULT_HEALTHY_NAMES, LabelTable
from leafscout.photos.labels import parse_labels
from leafscout.photos.splits import merge_groups

__all__ = ["CheckReport", "Finding", "check_data"]

LEARNED_FROM = 5
"""Photos of a label that training needs at least to learn it."""
VALIDATED_WITH = 2
"""Photos of a label that validation needs at least to judge it."""


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        findings: errors first, then warnings, otherwise in the order found.
        description: how the labels were understood; empty when they could not be.
        counts: photos, and photos per label and healthy.
    """

    findings: tuple[Finding, ...]
    description: str
    counts: dict[str, int]

    @property
    def refuses_training(self) -> bool:
        """True when at least one finding keeps training from starting."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "description": self.description,
            "counts": dict(self.counts),
            "refuses_training": self.refuses_training,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def lines(self) -> list[str]:
        """The report as plain sentences, a line each."""
        errors = sum(finding.severity == "error" for finding in self.findings)
        warnings = len(self.findings) - errors
        lines = [self.description] if self.description else []
        lines += [
            f"{finding.severity} ({finding.code}): {finding.message}" for finding in self.findings
        ]
        if not self.findings:
            return [*lines, "No problems found."]
        lines.append(
            f"{errors} errors, {warnings} warnings. "
            + ("Training would refuse this data." if errors else "Training can start.")
        )
        return lines


def check_data(
    data: str | Path,
    *,
    healthy_names: Sequence[str] = DEFAULT_HEALTHY_NAMES,
    complete: bool = True,
    photos_root: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check labels, decode every photo in full, and compare all photos with each other.

    Args:
        data: a folder or CSV file as for ``read_labels``.
        healthy_names: names that mean "no disease", whatever their case.
        complete: whether a disease that is not named is known to be absent.
        photos_root: the folder that photo names are relative to.
        workers: threads; None takes one for each processor that may be used.
        progress: called with photos done and photos in all.

    Returns:
        All findings. Codes of labels: ``missing``, ``bad_labels``, ``empty_class``, ``one_class``,
        ``healthy_beside_disease``, ``conflicting_labels``, ``similar_labels``,
        ``label_too_rare``, ``odd_name``, ``similar_names``. Codes of photos: those of
        ``PhotoError``, and ``duplicate``, ``near_duplicate``, ``leak``.

    Raises:
        InputError: when there is no healthy name.
    """
    table, findings = parse_labels(
        data, healthy_names=healthy_names, complete=complete, photos_root=photos_root
    )
    if table is None:
        return CheckReport(_errors_first(findings), "", {"photos": 0})
    findings += _find_rare_labels(table)
    findings += _find_split_groups(table)
    results = try_fingerprints(table.paths, workers=workers, progress=progress)
    findings += [
        error(result.code, str(result), table.paths[index], table.rows[index])
        for index, result in enumerate(results)
        if isinstance(result, PhotoError)
    ]
    findings += _find_duplicates(table, results)
    counts = {"photos": len(table)}
    counts.update(zip(table.labels, table.truth.sum(axis=0).tolist(), strict=True))
    counts["healthy"] = int(table.healthy.sum())
    return CheckReport(_errors_first(findings), table.describe(), counts)


def _errors_first(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: finding.severity != "error"))


def _find_rare_labels(table: LabelTable) -> Iterator[Finding]:
    splits = np.array([str(split) for split in table.splits])
    groups = merge_groups(table.groups)
    for label, shows in zip(table.labels, table.truth.T, strict=True):
        count, apart = int(shows.sum()), len(np.unique(groups[shows]))
        row = find_label_row(table, label)
        train = int((shows & (splits == "train")).sum())
        val = int((shows & (splits == "val")).sum())
        if "train" in splits and train == 0:
            yield error(
                "label_too_rare",
                f"The label {label} has no photo in train, so it cannot be learned. Add some, or "
                "remove the label.",
                table.source,
                row,
            )
        elif apart < 2:
            yield error(
                "label_too_rare",
                f"The label {label} has {count} photos in {apart} groups, so it cannot be both "
                f"learned and validated. Add photos, at least {LEARNED_FROM + VALIDATED_WITH}, or "
                "remove the label.",
                table.source,
                row,
            )
        elif "val" in splits and (train < LEARNED_FROM or val < VALIDATED_WITH):
            yield warning(
                "label_too_rare",
                f"The label {label} has {train} photos in train and {val} in val: at least "
                f"{LEARNED_FROM} are needed to learn it and {VALIDATED_WITH} to validate it.",
                table.source,
                row,
            )
        elif count < LEARNED_FROM + VALIDATED_WITH:
            yield warning(
                "label_too_rare",
                f"The label {label} has {count} photos: at least {LEARNED_FROM} are needed to "
                f"learn it and {VALIDATED_WITH} to validate it.",
                table.source,
                row,
            )


def _find_split_groups(table: LabelTable) -> Iterator[Finding]:
    sides: dict[str, set[str]] = {}
    leaving: dict[str, int | None] = {}
    for group, split, row in zip(table.groups, table.splits, table.rows, strict=True):
        if group is not None and split is not None:
            if split not in sides.setdefault(group, set()) and sides[group]:
                leaving.setdefault(group, row)
            sides[group].add(split)
    for group, splits in sides.items():
        if len(splits) > 1:
            yield error(
                "leak",
                f"The group {group} has photos in {' and '.join(sorted(splits))}. Keep a group in "
                "one split.",
                table.source,
                leaving[group],
            )


def _find_duplicates(
    table: LabelTable, results: Sequence[Fingerprint | PhotoError]
) -> Iterator[Finding]:
    decoded = [index for index, one in enumerate(results) if isinstance(one, Fingerprint)]
    prints = [one for one in results if isinstance(one, Fingerprint)]
    for group in near_duplicate_groups(prints):
        first = decoded[group[0]]
        first_of_file: dict[str, int] = {}
        for place in group:
            index = decoded[place]
            same_file = first_of_file.setdefault(prints[place].sha256, index)
            if same_file != index:
                yield _judge_pair(table, same_file, index, exact=True)
            elif index != first:
                yield _judge_pair(table, first, index, exact=False)


def _judge_pair(table: LabelTable, one: int, other: int, *, exact: bool) -> Finding:
    relation = "is the same file as" if exact else "shows the same picture as"
    said = f"{table.names[other]} {relation} {table.names[one]}"
    place = (table.paths[other], table.rows[other])
    one_split, other_split = table.splits[one], table.splits[other]
    labels = np.array(table.labels)
    differ = bool((table.truth[one] != table.truth[other]).any())
    both = " and ".join(" ".join(labels[table.truth[index]]) or "healthy" for index in (other, one))
    if differ and exact:
        return error(
            "conflicting_labels",
            f"{said}, but they are labelled {both}. Correct one of them.",
            *place,
        )
    if one_split != other_split:
        return error(
            "leak",
            f"{said}, but one is in {other_split} and the other in {one_split}. Keep both in one "
            "split, or remove one.",
            *place,
        )
    if exact:
        return warning("duplicate", f"{said}. Remove one of them.", *place)
    but = f", but they are labelled {both}: check which is right" if differ else ""
    return warning(
        "near_duplicate", f"{said}{but}. Both are kept on one side of every split.", *place
    )
