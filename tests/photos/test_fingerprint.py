import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from leafscout.errors import PhotoError
from leafscout.photos.decode import list_photos
from leafscout.photos.fingerprint import (
    Fingerprint,
    fingerprint,
    fingerprint_many,
    near_duplicate_groups,
    try_fingerprints,
)


def draw_picture(seed, height=240, width=320):
    """A leaf with spots on a pale background: all of them share the coarse shape."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / (height / 3)) ** 2 + (
        (columns - width / 2) / (width / 2.5)
    ) ** 2
    pixels = np.where((inside < 1)[..., None], [70, 130, 60], [215, 210, 205]).astype(float)
    for _ in range(14):
        y, x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(6, 22)
        pixels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = rng.uniform(20, 190, 3)
    pixels += rng.normal(0, 3, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


CHANGES = {
    "recompressed": lambda image: (image, 30),
    "half": lambda image: (image.resize((image.width // 2, image.height // 2)), 80),
    "squashed": lambda image: (image.resize((160, 160)), 85),
    "mirrored": lambda image: (ImageOps.mirror(image), 85),
    "flipped": lambda image: (ImageOps.flip(image), 85),
    "turned": lambda image: (image.transpose(Image.Transpose.ROTATE_90), 85),
    "upside_down": lambda image: (image.transpose(Image.Transpose.ROTATE_180), 85),
    "transverse": lambda image: (image.transpose(Image.Transpose.TRANSVERSE), 85),
    "brighter": lambda image: (image.point(lambda v: min(255, int(v * 1.1))), 85),
}


def save(image, path, quality=92):
    image.save(path, quality=quality)
    return path


@pytest.mark.parametrize("change", list(CHANGES))
def test_copies_are_found_and_other_leaves_are_not(tmp_path, change):
    originals = [save(draw_picture(seed), tmp_path / f"{seed}.jpg") for seed in range(8)]
    changed, quality = CHANGES[change](Image.open(originals[3]))
    copy = save(changed, tmp_path / "copy.jpg", quality)
    prints = fingerprint_many([*originals, copy])
    assert near_duplicate_groups(prints) == [[3, 8]]


def test_the_coarse_hash_survives_turning_and_recompression(tmp_path):
    original = fingerprint(save(draw_picture(1), tmp_path / "a.jpg"))
    assert len(original.phash_hex) == 16

    def bits_off(one, other):
        return (int(one.phash_hex, 16) ^ int(other.phash_hex, 16)).bit_count()

    for change in CHANGES.values():
        image, quality = change(draw_picture(1))
        assert bits_off(original, fingerprint(save(image, tmp_path / "b.jpg", quality))) <= 8
    assert bits_off(original, fingerprint(save(draw_picture(2), tmp_path / "c.jpg"))) > 8


def test_the_same_file_is_found_even_without_any_detail(tmp_path):
    plain = Image.new("RGB", (100, 100), (120, 130, 90))
    other = Image.new("RGB", (100, 100), (10, 200, 90))
    paths = [save(plain, tmp_path / "a.png"), save(other, tmp_path / "b.png")]
    paths.append(save(plain, tmp_path / "c.png"))
    prints = fingerprint_many(paths)
    assert prints[0].sha256 == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert not prints[0].detail.any()
    assert near_duplicate_groups(prints) == [[0, 2]]
    assert near_duplicate_groups([]) == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.3, 0.6, 0.85]))
def test_no_pair_is_lost_to_the_first_sieve(seed, threshold):
    """Brute force over all pairs and positions is the oracle."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(3, 32, 32))
    pictures = []
    for index in range(9):
        mixed = base[index % 3] + rng.uniform(0, 2.5) * rng.normal(size=(32, 32))
        turned = np.rot90(mixed, rng.integers(4))
        pictures.append(turned[:, ::-1] if rng.integers(2) else turned)
    details = [(p - p.mean()) / np.linalg.norm(p - p.mean()) for p in pictures]
    prints = [Fingerprint(str(i), "", d.astype(np.float32)) for i, d in enumerate(details)]
    linked = np.eye(9, dtype=bool)
    for i in range(9):
        for j in range(9):
            for k in range(4):
                turned = np.rot90(details[j], k)
                for position in (turned, turned[:, ::-1]):
                    linked[i, j] |= (details[i] * position).sum() >= threshold
    for _ in range(9):
        linked = (linked.astype(int) @ linked) > 0
    expected = {tuple(np.flatnonzero(row)) for row in linked if row.sum() > 1}
    found = near_duplicate_groups(prints, same_picture=threshold)
    assert {tuple(group) for group in found} == expected


def test_progress_is_told_and_bad_photos_are_named(tmp_path):
    good = save(draw_picture(0), tmp_path / "good.jpg")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(good.read_bytes()[:-500])
    told = []
    results = try_fingerprints(
        [good, bad], workers=1, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 2), (2, 2)]
    assert isinstance(results[0], Fingerprint)
    assert isinstance(results[1], PhotoError)
    assert results[1].code == "truncated"
    with pytest.raises(PhotoError, match=r"bad.jpg is cut short"):
        fingerprint_many([good, bad])


@pytest.mark.real_photos
def test_real_leaves_on_one_background_are_told_apart(real_data, tmp_path):
    paths = list_photos(real_data / "coffee" / "images")[:40]
    copies = []
    for index, path in enumerate(paths[:9]):
        change = list(CHANGES.values())[index]
        image, quality = change(Image.open(path).reduce(2))
        copies.append(save(image, tmp_path / f"{index}.jpg", quality))
    prints = fingerprint_many([*paths, *copies])
    assert near_duplicate_groups(prints) == [[index, 40 + index] for index in range(9)]


def test_a_fingerprint_depends_on_pixels_not_on_the_container(tmp_path):
    out = io.BytesIO()
    draw_picture(5).save(out, "PNG")
    (tmp_path / "a.png").write_bytes(out.getvalue())
    draw_picture(5).save(tmp_path / "b.tiff")
    one, other = fingerprint(tmp_path / "a.png"), fingerprint(tmp_path / "b.tiff")
    assert one.sha256 != other.sha256
    assert one.phash_hex == other.phash_hex
    np.testing.assert_array_equal(one.detail, other.detail)
