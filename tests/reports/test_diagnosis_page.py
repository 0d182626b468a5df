"""The page opens offline, holds everything, and trusts no name."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from leafscout.errors import InputError
from leafscout.reports.diagnosis_page import MAX_WIDTH_PX, write_diagnosis_page

PICTURE = np.full((60, 90, 3), 128, np.uint8)


class Page(HTMLParser):
    """Tags, attributes and text of a page; void tags aside, every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def write(path, items) -> Page:
    assert write_diagnosis_page(path, items) == path
    page = Page(path.read_text("utf-8"))
    assert page.open == []
    return page


def test_the_page_shows_every_photo_with_its_facts(diagnosis_of, tmp_path):
    page = write(
        tmp_path / "page.html",
        iter(
            [
                (diagnosis_of("a.jpg", unsure="the photo is blurred"), PICTURE),
                (diagnosis_of("b.jpg", probs=(0.1, 0.2), read=()), PICTURE),
            ]
        ),
    )
    assert "2 photos diagnosed" in page.text
    assert "1 healthy · 1 with disease · 1 unsure · 2 of 12 tiles looked at · 15%" in page.text
    assert "rust 0.93" in page.text
    assert "✓ healthy" in page.text
    assert "the photo is blurred" in page.text
    assert "300, 0 200 × 100 0.90" in page.text
    assert "2 of 6" in page.text
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [image["alt"].split(":")[0] for image in images] == ["a.jpg", "b.jpg"]
    targets = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert targets == {f"#{attrs['id']}" for tag, attrs in page.tags if tag == "article"}


def test_the_page_needs_nothing_from_outside(diagnosis_of, tmp_path):
    path = tmp_path / "page.html"
    page = write(path, [(diagnosis_of(), PICTURE)])
    assert not re.search(r"https?://|url\(|@import|<script", path.read_text("utf-8"))
    sources = [v for _, attrs in page.tags for k, v in attrs.items() if k in {"src", "href"}]
    assert sources
    assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in sources)


def test_pictures_are_narrowed_and_carry_no_metadata(diagnosis_of, tmp_path):
    wide = np.random.default_rng(0).integers(0, 256, (400, 2000, 3), dtype=np.uint8)
    page = write(tmp_path / "page.html", [(diagnosis_of(), wide)])
    (image,) = [attrs for tag, attrs in page.tags if tag == "img"]
    data = base64.b64decode(image["src"].partition(",")[2])
    opened = Image.open(io.BytesIO(data))
    assert opened.size == (MAX_WIDTH_PX, 280) == (int(image["width"]), int(image["height"]))
    assert not opened.getexif()
    assert b"Exif" not in data


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7 * 7 }}", "a&amp;b", "ü稲.jpg"],
)
def test_names_are_text_never_markup(diagnosis_of, tmp_path, name):
    plain = write(tmp_path / "plain.html", [(diagnosis_of(unsure="x"), PICTURE)])
    page = write(
        tmp_path / "page.html",
        [(diagnosis_of(name, labels=(name, "miner"), unsure=name), PICTURE)],
    )
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attrs) for _, attrs in page.tags] == [sorted(attrs) for _, attrs in plain.tags]
    shown = name.rpartition("/")[2]
    assert page.text.count(shown) >= 3


def test_folders_are_named_only_to_tell_photos_apart(diagnosis_of, tmp_path):
    items = [(diagnosis_of(f"/home/ann/{one}.jpg"), PICTURE) for one in ("x/1", "y/1", "y/2")]
    page = write(tmp_path / "page.html", items)
    assert "/home/ann/x/1.jpg" in page.text
    assert "2.jpg" in page.text
    assert "/home/ann/y/2.jpg" not in page.text


def test_items_are_taken_one_at_a_time(diagnosis_of, tmp_path):
    alive = []

    class Counted(np.ndarray):
        def __del__(self):
            if alive:
                alive.pop()

    def items():
        for index in range(5):
            picture = PICTURE.view(Counted)
            alive.append(1)
            yield diagnosis_of(f"{index}.jpg"), picture
            del picture
            assert len(alive) <= 2

    write(tmp_path / "page.html", items())


def test_no_photo_and_no_folder(diagnosis_of, tmp_path):
    assert "No photo was diagnosed." in write(tmp_path / "page.html", []).text
    with pytest.raises(InputError, match="Cannot write"):
        write_diagnosis_page(tmp_path / "no" / "page.html", [(diagnosis_of(), PICTURE)])
