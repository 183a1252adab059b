"""Makes the tutorial's `two_bits.png`: the drawing of `side_by_side.py`, upscaled in full precision and by
the packed network, and how far the two are apart.

    python two_bits.py path/to/condi-convert MODEL PACKED [OUT]

Needs Pillow. PACKED is made as for `side_by_side.py`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops
from side_by_side import SIDE, high_resolution, page_of

# What differences are multiplied by, so that they can be seen.
GAIN = 8
CATALOG = Path(__file__).parent.parent / "condi-convert.docc"


def main() -> None:
    tool, *models = sys.argv[1:4]
    output = Path(sys.argv[4]) if len(sys.argv) > 4 else CATALOG / "two_bits.png"
    panels = []
    with tempfile.TemporaryDirectory() as name:
        low = Path(name) / "low.png"
        high_resolution().resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC).save(low)
        for model in models:
            upscaled = low.with_name("upscaled.png")
            subprocess.run(
                [tool, "upscale", model, low, upscaled, "--quiet", "--force"], check=True
            )
            panels.append(Image.open(upscaled).convert("RGB"))
    difference = ImageChops.difference(*panels).point(lambda sample: min(255, GAIN * sample))
    titles = ["32 bits", "2 bits", f"difference, {GAIN} times as bright"]
    page_of(list(zip(titles, [*panels, difference], strict=True))).save(output, optimize=True)


if __name__ == "__main__":
    main()
