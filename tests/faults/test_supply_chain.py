"""What the project is made of: pinned, listed, licensed, and audited by someone who looks."""

import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "requirements"


@pytest.fixture
def tools(monkeypatch):
    """The modules beside the requirement files."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import audit_dependencies
    import check_licences
    import lock
    import write_sbom

    yield audit_dependencies, check_licences, lock, write_sbom
    for name in ("audit_dependencies", "check_licences", "lock", "write_sbom"):
        sys.modules.pop(name)


def test_the_lock_is_read_whole(tools):
    lock = tools[2]
    for which in lock.SETS:
        text = (FOLDER / f"{which}.txt").read_text(encoding="utf-8")
        entries = [line for line in text.splitlines() if line and not line.startswith(" ")]
        pinned = [(one.name, one.version) for one in lock.read_lock(which)]
        assert pinned == [tuple(re.split("==|[ ;]", line)[:2]) for line in entries]
    names = {one.name for one in lock.read_lock("base")}
    assert {"numpy", "pillow", "simplejpeg", "onnxruntime"} <= names


def auditor(bad=("jinja2", "pyyaml"), skipped=(), absent=(), answers=True):
    """An auditor that knows of some bad packages, skips some and leaves out others."""

    def ask(packages):
        if not answers:
            return []
        return [
            {"name": one.name, "skip_reason": "not found"} if one.name in skipped
            else {"name": one.name, "version": one.version,
                  "vulns": [{"id": "X-1", "fix_versions": ["9"]}] if one.name in bad
                  and one.version in {"2.10", "5.3", "1.0"} else []}
            for one in packages if one.name not in absent
        ]  # fmt: skip

    return ask


def test_an_audit_reports_what_it_finds(tools):
    audit_dependencies, _, lock, _ = tools
    packages = [lock.Pinned("a", "1.0", ""), lock.Pinned("b", "1.0", ""), lock.Pinned("b", "2", "")]
    assert audit_dependencies.audit(packages, auditor()) == []
    found = audit_dependencies.audit(packages, auditor(bad=("jinja2", "pyyaml", "b")))
    assert found == ["b 1.0: X-1, mended in 9"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (auditor(bad=()), "nothing for old versions of jinja2 and pyyaml"),
        (auditor(bad=("jinja2",)), "nothing for old versions of pyyaml"),
        (auditor(skipped=("jinja2", "pyyaml", "a", "b")), "its database is out of reach, or empty"),
        (auditor(answers=False), "its database is out of reach, or empty"),
        (auditor(skipped=("a",)), "1 of 3 packages got no answer: a"),
        (auditor(absent=("b",)), "2 of 3 packages got no answer: b, b"),
    ],
)
def test_an_audit_that_did_not_look_fails(tools, ask, words):
    audit_dependencies, _, lock, _ = tools
    packages = [lock.Pinned("a", "1.0", ""), lock.Pinned("b", "1.0", ""), lock.Pinned("b", "2", "")]
    with pytest.raises(audit_dependencies.NotCheckedError, match=words):
        audit_dependencies.audit(packages, ask)


def test_licences_that_are_not_allowed_are_named(tools):
    licences = tools[1]

    def judge(licence, *sets):
        return licences.judge(licences.Licensed("x", "1", licence, "package", sets or ("base",)))

    for allowed in ("MIT", "Apache-2.0 OR BSD-2-Clause", "GPL-3.0 OR MIT", "MIT AND Zlib",
                    "Apache-2.0 WITH LLVM-exception"):  # fmt: skip
        assert judge(allowed) is None
    for refused in ("GPL-3.0-only", "AGPL-3.0", "LGPL-2.1 AND MIT", "unknown", "MPL-2.0"):
        assert f"{refused} is not allowed" in judge(refused)
    assert judge("MPL-2.0", "train", "dev") is None
    assert judge("AGPL-3.0", "dev") is not None


def test_all_licences_are_known_and_listed(tools):
    licences = tools[1]
    found = licences.gather()
    assert [words for one in found if (words := licences.judge(one))] == []
    assert licences.PAGE.read_text(encoding="utf-8") == licences.write_page(found)


def test_a_bill_of_materials_must_be_whole(tools):
    _, _, lock, write_sbom = tools
    parts = [{"name": one.name, "version": one.version} for one in lock.read_lock("base")]
    write_sbom.check_sbom("base", {"bomFormat": "CycloneDX", "components": parts})
    bill = {"bomFormat": "CycloneDX", "components": parts[:3] + parts[4:]}
    with pytest.raises(SystemExit, match=f"lacks {parts[3]['name']}"):
        write_sbom.check_sbom("base", bill)
