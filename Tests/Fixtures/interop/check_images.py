"""Opens images that condi-convert upscaled with Pillow, as a viewer would.

    python check_images.py [--require] path/to/condi-convert

Colour profiles must come back byte for byte, images must be upright, transparent edges must have no dark
rims, and a PNG file may be wider than 65,535 pixels. Exit code 1 on any difference.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    from PIL import Image, ImageCms, ImageOps
except ImportError:
    Image = None


class Upscaler:
    """Upscales files in a folder, and keeps what went wrong."""

    def __init__(self, tool: str, folder: Path) -> None:
        self.tool, self.folder = tool, folder
        self.problems: list[str] = []

    def run(self, source: str, target: str, scale: int = 2) -> "Image.Image | None":
        result = subprocess.run(
            [self.tool, "upscale", "bicubic", source, target, "--scale", str(scale), "--force"],
            capture_output=True, text=True, timeout=120, check=False, cwd=self.folder,
        )  # fmt: skip
        if result.returncode != 0:
            self.problems.append(f"{source} to {target}: {result.stderr.strip()}")
            return None
        image = Image.open(self.folder / target)
        image.load()
        return image

    def expect(self, condition: bool, problem: str) -> None:
        if not condition:
            self.problems.append(problem)


def color_profile(size: int) -> bytes:
    """sRGB's profile as LittleCMS writes it, with bytes behind its tags that nobody reads."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    extra = np.random.default_rng(1).integers(0, 256, max(0, size - len(profile)), np.uint8)
    profile += extra.tobytes()
    profile[0:4] = len(profile).to_bytes(4, "big")
    return bytes(profile)


def check_profiles(check: Upscaler) -> None:
    image = Image.new("RGB", (16, 12), (250, 60, 40))
    # The second takes three segments of a JPEG file.
    for size in (0, 150_000):
        profile = color_profile(size)
        for source in ("profile.jpg", "profile.png", "profile.webp"):
            image.save(check.folder / source, icc_profile=profile)
            for target in ("out.jpg", "out.png", "out.webp"):
                result = check.run(source, target)
                if result is not None:
                    kept = result.info.get("icc_profile") == profile
                    check.expect(kept, f"{source} to {target}: a profile of {len(profile)} bytes")


def check_orientation(check: Upscaler) -> None:
    samples = np.zeros((12, 20, 3), np.uint8)
    samples[:6, :10] = 255
    samples[6:, :10, 0] = 200
    image = Image.fromarray(samples)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for source in ("turned.png", "turned.jpg", "turned.webp"):
            image.save(check.folder / source, exif=exif, quality=95)
            upright = ImageOps.exif_transpose(Image.open(check.folder / source))
            result = check.run(source, "out.png")
            if result is None:
                continue
            small = np.array(result.resize(upright.size, Image.Resampling.BOX), int)
            difference = np.abs(small - np.array(upright, int)).max()
            name = f"{source} with orientation {orientation}"
            check.expect(difference < 80, f"{name}: another by {difference}")
            check.expect(result.getexif().get(0x0112, 1) == 1, f"{name}: turned twice")


def check_rims(check: Upscaler) -> None:
    """A white disc on transparent black must be white wherever it is seen."""
    y, x = np.mgrid[0:24, 0:24]
    distance = np.hypot(x - 12, y - 12)
    alpha = (np.clip(9 - distance, 0, 1) * 255).astype(np.uint8)
    white = np.where(alpha > 0, 255, 0).astype(np.uint8)
    rgba = np.stack([white, white, white, alpha], -1)
    palette = Image.fromarray(white).convert("P")
    palette.putpalette([0, 0, 0] + [255, 255, 255] * 255)
    files = {
        "rgba.png": Image.fromarray(rgba),
        "grey.png": Image.fromarray(np.stack([white, alpha], -1)),
        "palette.png": palette,
    }
    for source, image in files.items():
        image.save(check.folder / source, **({"transparency": 0} if source == "palette.png" else {}))
        result = check.run(source, "out.png", 3)
        if result is None:
            continue
        samples = np.array(result.convert("RGBA"), float)
        visible = samples[..., 3] > 0
        least = samples[visible][:, :3].min()
        check.expect(visible.any() and least > 250, f"{source}: a rim of {least}")


def check_webp(check: Upscaler) -> None:
    """Without a quality, WebP output has the samples of PNG output."""
    noise = np.random.default_rng(2).integers(0, 256, (9, 14, 4), np.uint8)
    for mode, channels in (("RGB", 3), ("RGBA", 4)):
        Image.fromarray(noise[..., :channels]).save(check.folder / "noise.png")
        results = [check.run("noise.png", target) for target in ("out.png", "out.webp")]
        if None not in results:
            png, webp = (np.array(result) for result in results)
            check.expect(np.array_equal(png, webp), f"{mode}: WebP has other samples than PNG")


def check_wide(check: Upscaler) -> None:
    for size in ((70_000, 2), (2, 70_000)):
        Image.new("L", size, 77).save(check.folder / "wide.png")
        result = check.run("wide.png", "out.png")
        if result is not None:
            wanted = (2 * size[0], 2 * size[1])
            check.expect(result.size == wanted, f"{size}: became {result.size}")
            check.expect(result.getextrema() == (77, 77), f"{size}: other samples")


def check_density(check: Upscaler) -> None:
    image = Image.new("RGB", (8, 8))
    for source in ("density.png", "density.jpg"):
        image.save(check.folder / source, dpi=(300, 150))
        for target in ("out.png", "out.jpg"):
            result = check.run(source, target)
            if result is not None:
                found = tuple(round(value) for value in result.info.get("dpi", (0, 0)))
                check.expect(found == (600, 300), f"{source} to {target}: {found} dpi")


def check(tool: str, *, required: bool) -> bool:
    """Whether all images are what they should be; without Pillow only if it is not required."""
    if Image is None:
        print("Pillow is missing: images were not opened")
        return not required
    with tempfile.TemporaryDirectory() as name:
        upscaler = Upscaler(str(Path(tool).resolve()), Path(name))
        checks = (
            check_profiles, check_orientation, check_rims, check_webp, check_wide, check_density
        )  # fmt: skip
        for step in checks:
            step(upscaler)
    for problem in upscaler.problems:
        print(problem)
    print(f"images: {len(checks)} kinds of checks, {len(upscaler.problems)} problems")
    return not upscaler.problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("--require", action="store_true", help="a missing package is a failure")
    arguments = parser.parse_args()
    return 0 if check(arguments.tool, required=arguments.require) else 1


if __name__ == "__main__":
    sys.exit(main())
