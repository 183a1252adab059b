"""Makes `side_by_side.png`: one image downscaled, upscaled again by condi-convert, and as it was.

    python side_by_side.py path/to/condi-convert MODEL PACKED [OUT]

The high-resolution image is drawn here, so that anyone may publish it. Needs Pillow. PACKED is, for
the README,

    condi-convert convert Examples/swinir_light_x2.pth 2bit.condi --bits 2 --calibration-images PHOTOS
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 96
# Pixels of the drawing per pixel of the high-resolution image, averaged.
FINE = 8
# Pixels of the page per pixel of the high-resolution image.
ZOOM = 3
MARGIN = 6


def high_resolution(side: int = SIDE) -> Image.Image:
    """Edges in all directions, letters, thin lines and a gradient."""
    size = side * FINE
    image = Image.linear_gradient("L").resize((size, size)).convert("RGB")
    image = Image.blend(image, Image.new("RGB", (size, size), (40, 90, 150)), 0.6)
    draw = ImageDraw.Draw(image)
    center = (0.66 * size, 0.36 * size)
    for ray in range(16):
        angle = 2 * math.pi * ray / 16
        reach = [(center[0] + 0.3 * size * math.cos(a), center[1] + 0.3 * size * math.sin(a))
                 for a in (angle, angle + math.pi / 16)]  # fmt: skip
        draw.polygon([center, *reach], fill=(250, 205, 90))
    for ring in range(4):
        radius = (0.08 + 0.06 * ring) * size
        box = [(center[0] - radius, center[1] - radius), (center[0] + radius, center[1] + radius)]
        draw.ellipse(box, outline=(30, 40, 60), width=2 * FINE)
    for line in range(7):
        start = 0.085 * size * line
        draw.line([(0, start + 0.05 * size), (0.36 * size, start)], fill="white", width=2 * FINE)
    draw.text((0.05 * size, 0.64 * size), "2 bits", fill=(250, 250, 245),
              font=ImageFont.load_default(0.24 * size))  # fmt: skip
    draw.text((0.06 * size, 0.87 * size), "well-conditioned", fill=(20, 20, 30),
              font=ImageFont.load_default(0.1 * size))  # fmt: skip
    return image.resize((side, side), Image.Resampling.BOX)


def noise_ratio(image: Image.Image, reference: Image.Image) -> float:
    """The PSNR in dB of all three channels."""
    pairs = zip(image.tobytes(), reference.tobytes(), strict=True)
    squares = [(left - right) ** 2 for left, right in pairs]
    return 10 * math.log10(255**2 * len(squares) / sum(squares))


def page_of(panels: list[tuple[str, Image.Image]]) -> Image.Image:
    """The panels side by side, enlarged, each above its title."""
    side = SIDE * ZOOM
    page = Image.new("RGB", ((side + MARGIN) * len(panels) + MARGIN, side + 34), "white")
    draw = ImageDraw.Draw(page)
    for index, (title, panel) in enumerate(panels):
        left = MARGIN + index * (side + MARGIN)
        page.paste(panel.resize((side, side), Image.Resampling.NEAREST), (left, MARGIN))
        draw.text((left, side + 10), title, fill="black", font=ImageFont.load_default(17))
    return page


def main() -> None:
    tool, model, packed = sys.argv[1:4]
    output = Path(sys.argv[4] if len(sys.argv) > 4 else Path(__file__).with_name("side_by_side.png"))
    high = high_resolution()
    panels = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        low = folder / "low.png"
        high.resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC).save(low)
        for title, arguments in (
            ("bicubic", ["bicubic", low, folder / "bicubic.png", "--scale", "2"]),
            ("32 bits", [model, low, folder / "full.png"]),
            ("2 bits", [packed, low, folder / "packed.png"]),
        ):
            subprocess.run([tool, "upscale", *map(str, arguments), "--quiet"], check=True)
            upscaled = Image.open(arguments[2]).convert("RGB")
            panels.append((f"{title}: {noise_ratio(upscaled, high):.1f} dB", upscaled))
    panels.append(("original", high))
    page_of(panels).save(output, optimize=True)


if __name__ == "__main__":
    main()
