"""Makes the images of `make demo`, in `calibration` and `evaluation` beside this file.

    python make.py path/to/skimage/data

The folder is that of scikit-image's wheel. Needs Pillow. README.md says where each image comes from.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "Documentation/images"))

from side_by_side import high_resolution  # noqa: E402: what the README's figure shows.

# Photo, box that is kept of it, size that this is downscaled to, and the file to write.
PHOTOS = [
    ("coffee.png", (0, 0, 600, 400), (240, 160), "calibration/coffee.png"),
    ("brick.png", (0, 0, 384, 384), (128, 128), "calibration/brick.png"),
    ("gravel.png", (0, 0, 384, 384), (128, 128), "calibration/gravel.png"),
    ("chelsea.png", (60, 20, 380, 260), (192, 144), "evaluation/cat.png"),
    ("camera.png", (100, 40, 420, 360), (160, 160), "evaluation/camera.png"),
]


def main() -> None:
    source = Path(sys.argv[1])
    images = [
        (name, Image.open(source / photo).resize(size, Image.Resampling.LANCZOS, box))
        for photo, box, size, name in PHOTOS
    ]
    for name, image in [*images, ("evaluation/drawing.png", high_resolution(160))]:
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        image.save(path, optimize=True)


if __name__ == "__main__":
    main()
