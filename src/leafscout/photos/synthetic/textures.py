"""Noise, soil, sky, blurred foliage, light: what covers a whole photo.

Full-resolution work is done by Pillow on 8-bit images; anything smooth is made small and
enlarged. That keeps a 12-megapixel photo under three seconds on one core.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from leafscout.types import FloatArray

Colour = tuple[int, int, int]

LIGHT_STEP_PX = 16
BLUR_STEP_PX = 8


def make_noise(
    rng: np.random.Generator, shape: tuple[int, int], *, exponent: float, longest_px: float
) -> FloatArray:
    """Make noise that repeats without a seam.

    Args:
        rng: source of chance.
        shape: rows and columns.
        exponent: how fast the amplitude falls with frequency; 0 is white noise.
        longest_px: waves longer than this do not grow any further.

    Returns:
        ``shape`` values of mean 0 and standard deviation 1.
    """
    rows = np.fft.fftfreq(shape[0])[:, None]
    columns = np.fft.rfftfreq(shape[1])[None, :]
    frequency = np.maximum(np.hypot(rows, columns), 1.0 / longest_px)
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) / frequency**exponent
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=shape)
    return (noise / max(float(noise.std()), 1e-9)).astype(np.float32)


def make_smooth(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> FloatArray:
    """Make a smooth random surface by enlarging a grid of ``cells``×``cells`` values, 0..1."""
    grid = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
    surface = grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(surface, dtype=np.float32), 0, 1)


def to_bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round values of 0..1 to 0..255, cutting off what lies outside."""
    return np.asarray(np.clip(values * 255.0 + 0.5, 0, 255), dtype=np.uint8)


def ramp_colours(shade: Image.Image, stops: tuple[Colour, ...]) -> Image.Image:
    """Colour a grey image by a ramp of evenly spaced colours, dark to light."""
    positions = np.linspace(0, 255, len(stops))
    channels = [
        shade.point(np.rint(np.interp(np.arange(256), positions, column)).astype(int).tolist())
        for column in zip(*stops, strict=True)
    ]
    return Image.merge("RGB", channels)


def _cover(tile: NDArray[np.uint8], size_px_hw: tuple[int, int]) -> Image.Image:
    repeats = [math.ceil(want / have) for want, have in zip(size_px_hw, tile.shape, strict=True)]
    whole = np.tile(tile, repeats)[: size_px_hw[0], : size_px_hw[1]]
    return Image.fromarray(np.ascontiguousarray(whole))


def paint_soil(rng: np.random.Generator, size_px_hw: tuple[int, int], scale: float) -> Image.Image:
    """Paint bare soil, sharp: clods and grains lit from one side, moist and dry places.

    Args:
        rng: source of chance.
        size_px_hw: height and width in pixels.
        scale: 1 for a photo of 4000 px, less for a smaller view of the same scene.
    """
    layers = []
    for side, longest, exponent in (
        (640, 320.0, 1.45),
        (480, 70.0, 0.95),
    ):  # together they repeat after 1920 px only
        height = make_noise(
            rng, (side, side), exponent=exponent, longest_px=max(longest * scale, 6.0)
        )
        height = np.abs(height) if side == 640 else height
        step = max(1, round(3 * scale))
        lit = height - np.roll(height, (step, step), axis=(0, 1))
        shade = 0.47 + 0.14 * lit / max(float(lit.std()), 1e-6) + 0.07 * height
        layers.append(_cover(to_bytes(shade), size_px_hw))
    grey = ImageChops.add(layers[0], layers[1], scale=2)
    tone = float(rng.uniform(0.75, 1.15))
    warm = float(rng.uniform(0.9, 1.12))
    stops = tuple(
        (round(r * tone * warm), round(g * tone), round(b * tone / warm))
        for r, g, b in ((22, 16, 12), (84, 62, 45), (138, 108, 80), (205, 180, 148))
    )
    soil = ramp_colours(grey, tuple((min(r, 255), min(g, 255), min(b, 255)) for r, g, b in stops))
    moist = 0.72 + 0.28 * make_smooth(rng, (96, 128), 7)
    veil = Image.fromarray(to_bytes(moist)).resize(soil.size, Image.Resampling.BICUBIC)
    soil = ImageChops.multiply(soil, Image.merge("RGB", (veil, veil, veil)))
    _strew_pebbles(rng, soil, scale)
    return soil


def _strew_pebbles(rng: np.random.Generator, soil: Image.Image, scale: float) -> None:
    """Strew stones and clods of all sizes, lit from the same side as the soil, in place."""
    for _ in range(int(rng.integers(60, 260))):
        radius = min(max(2.0, 9.0 * scale * float(rng.pareto(1.6) + 0.4)), 90 * scale + 2)
        side = 2 * math.ceil(radius * 1.4) + 1
        steps = np.arange(side, dtype=np.float32) / radius - 1.4
        across, down = np.meshgrid(steps, steps / float(rng.uniform(0.65, 0.95)))
        turn = np.arctan2(down, across)
        uneven = 1 + 0.1 * np.sin(3 * turn + float(rng.uniform(0, 6))) + 0.05 * np.sin(5 * turn)
        far = np.hypot(across, down) / uneven
        bump = 0.52 - 0.3 * (across + down) * np.clip(far, 0.2, 1)
        grain = 0.05 * rng.standard_normal(far.shape)
        tone = np.array([150, 128, 104]) * float(rng.uniform(0.45, 1.2)) * rng.normal(1, 0.05, 3)
        stone = np.clip((bump + grain)[..., None] * tone * 1.5, 0, 255).astype(np.uint8)
        x, y = int(rng.integers(-side, soil.width)), int(rng.integers(-side, soil.height))
        lift = round(radius * 0.25)
        shadow = Image.fromarray(to_bytes(np.clip((1.1 - far) * 4, 0, 0.6)))
        soil.paste((14, 9, 6), (x + lift, y + lift), shadow)
        soil.paste(
            Image.fromarray(stone),
            (x, y),
            Image.fromarray(to_bytes(np.clip((1 - far) * radius / 1.5, 0, 1))),
        )


def paint_foliage(rng: np.random.Generator, size_px_hw: tuple[int, int]) -> Image.Image:
    """Paint a stand of plants far behind the focus: soft strokes of green, a little light."""
    rows, columns = (max(8, side // BLUR_STEP_PX) for side in size_px_hw)
    base = (30 + int(rng.integers(20)), 48 + int(rng.integers(24)), 20 + int(rng.integers(12)))
    small = Image.new("RGB", (columns, rows), base)
    draw = ImageDraw.Draw(small)
    for _ in range(130):
        x, y = float(rng.uniform(0, columns)), float(rng.uniform(0, rows))
        angle = float(rng.normal(-math.pi / 2, 0.6))
        length, width = float(rng.uniform(0.15, 0.6)) * columns, float(rng.uniform(0.008, 0.03))
        tone = float(rng.uniform(0.5, 1.45))
        green = (int(78 * tone), int((108 + rng.integers(18)) * tone), int(46 * tone))
        bend = float(rng.normal(0, 0.25))
        points = [
            (
                x + length * t * math.cos(angle + bend * t),
                y + length * t * math.sin(angle + bend * t),
            )
            for t in np.linspace(0, 1, 7)
        ]
        draw.line(points, fill=green, width=max(1, round(width * columns)), joint="curve")
    small = small.filter(ImageFilter.GaussianBlur(columns / float(rng.uniform(60, 110))))
    return small.resize((size_px_hw[1], size_px_hw[0]), Image.Resampling.BICUBIC)


def paint_sky(rng: np.random.Generator, canvas: Image.Image, horizon_px: int) -> None:
    """Paint sky with clouds and a blurred far edge of the field above a horizon, in place."""
    rows, columns = max(8, horizon_px // BLUR_STEP_PX), max(8, canvas.width // BLUR_STEP_PX)
    cloud = make_smooth(rng, (rows, columns), 6)[..., None] * 0.7
    fall = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    blue = np.array([118, 160, 205], dtype=np.float32) * (1 - fall) + fall * 214
    sky = blue * (1 - cloud) + np.array([232, 234, 236], dtype=np.float32) * cloud
    edge = 0.62 + 0.2 * make_smooth(rng, (1, columns), 9)[0]
    far = fall[..., 0] > edge[None, :]
    sky[far] = np.array([88, 112, 74], dtype=np.float32) * float(rng.uniform(0.8, 1.1))
    small = Image.fromarray(sky.astype(np.uint8)).filter(ImageFilter.GaussianBlur(2.5))
    band = small.resize((canvas.width, horizon_px), Image.Resampling.BICUBIC)
    fade = Image.fromarray(to_bytes(np.clip((1 - fall[..., 0]) * 8, 0, 1)))
    canvas.paste(band, (0, 0), fade.resize(band.size, Image.Resampling.BILINEAR))


def light_photo(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    """Light a photo: exposure, white balance, fall-off, cast shadows and, at times, lens glare."""
    rows, columns = (max(8, side // LIGHT_STEP_PX) for side in (canvas.height, canvas.width))
    down, across = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    angle = float(rng.uniform(0, 2 * math.pi))
    slope = math.cos(angle) * across + math.sin(angle) * down
    light = (0.93 + 0.1 * float(rng.uniform(0.2, 1)) * slope) * (1 - 0.09 * (down**2 + across**2))
    if rng.random() < 0.6:
        light *= 1 - float(rng.uniform(0.25, 0.5)) * _cast_shadow(rng, rows, columns)
    balance = 1 + rng.uniform(-0.07, 0.07, 3)
    light = light[..., None] * balance * float(rng.uniform(0.82, 1.08))
    small = Image.fromarray(to_bytes(light))
    lit = ImageChops.multiply(canvas, small.resize(canvas.size, Image.Resampling.BICUBIC))
    if rng.random() < 0.3:
        x, y = rng.uniform(-1, 1, 2)
        spread = float(rng.uniform(0.15, 0.5))
        glow = np.exp(-((across - x) ** 2 + (down - y) ** 2) / spread)
        veil = Image.fromarray(to_bytes(glow * float(rng.uniform(0.08, 0.25))))
        veil = veil.resize(canvas.size, Image.Resampling.BICUBIC)
        lit = ImageChops.screen(lit, Image.merge("RGB", (veil, veil, veil)))
    return lit


def _cast_shadow(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Shadows of plants outside the photo, (rows, columns), 0..1."""
    shadow = Image.new("L", (columns, rows), 0)
    draw = ImageDraw.Draw(shadow)
    heading = float(rng.uniform(0, math.pi))
    for _ in range(int(rng.integers(1, 5))):
        x, y = float(rng.uniform(0, columns)), float(rng.uniform(0, rows))
        angle = heading + float(rng.normal(0, 0.3))
        reach_x, reach_y = math.cos(angle) * columns, math.sin(angle) * columns
        wide = float(rng.uniform(0.02, 0.09)) * columns
        side_x, side_y = -math.sin(angle) * wide, math.cos(angle) * wide
        tip = (x + reach_x, y + reach_y)
        draw.polygon([(x - side_x, y - side_y), tip, (x + side_x, y + side_y)], fill=255)
    blurred = shadow.filter(ImageFilter.GaussianBlur(columns / 90))
    return np.asarray(blurred, dtype=np.float32) / 255.0


def add_sensor_noise(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Add the grain of a camera, coloured a little, about 1 to 4 grey levels."""
    side = 512
    strength = float(rng.uniform(1.2, 4.0))
    grain = rng.standard_normal((side, side, 1), dtype=np.float32) * strength
    grain = grain + rng.standard_normal((side, side, 3), dtype=np.float32) * strength * 0.5
    grain = np.clip(grain + 128.5, 0, 255).astype(np.uint8)
    repeats = (math.ceil(photo.height / side), math.ceil(photo.width / side), 1)
    whole = np.ascontiguousarray(np.tile(grain, repeats)[: photo.height, : photo.width])
    return ImageChops.add(photo, Image.fromarray(whole), scale=1, offset=-128)
