"""Makes the images in `images/` and what is expected of them.

    python Tests/Fixtures/generate_images.py                  # rewrites images/
    python Tests/Fixtures/generate_images.py --sets FOLDER    # rewrites images/sets.json as well,
                                                              # from FOLDER/Set5 and FOLDER/Set14

Needs NumPy 2, SciPy and Pillow. PNG files are assembled in `makers/png_bytes.py`; JPEG and WebP files are
written by Pillow. Nothing depends on the clock or on random numbers.

    images.json    {file: {width, height, channels, bitDepth, crc32}}: zlib.crc32 of the interleaved
                   samples, two little-endian bytes each; lossy files have `samples` in base64 instead,
                   a byte each, as Pillow decodes them
    resizing.json  what bicubic resizing gives, from its definition in `makers/image_resizing.py`
    premultiplied.json  {file: {scale, samples}}: images with alpha, upscaled with colours times alpha
                   by the same; samples in base64, two little-endian bytes each
    metrics.json   PSNR and SSIM on luma of pairs of images, by NumPy and SciPy
    sets.json      the means of bicubic interpolation over data sets, by the same
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from makers import image_resizing, png_bytes
from makers.png_bytes import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, chunk
from PIL import Image, ImageOps
from scipy.signal import convolve2d

FOLDER = Path(__file__).parent / "images"
WIDTH, HEIGHT = 13, 11


def pattern(height: int, width: int, channels: int, maximum: int) -> np.ndarray:
    """Waves and a step, from 0 to `maximum`."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels].astype(np.float64)
    wave = np.sin(0.7 * x + 0.4 * y + c) + np.cos(0.23 * x * (c + 1) - 0.5 * y)
    step = (x + y > 0.8 * width).astype(np.float64)
    value = (wave + 2) / 4 * 0.75 + 0.25 * step
    return np.rint(value * maximum).astype(np.int64)


# The samples and the depth of every PNG file, by name.
SAMPLES: dict[str, tuple[np.ndarray, int]] = {}


class Images:
    def __init__(self) -> None:
        self.expected: dict[str, dict] = {}

    def add(self, name: str, content: bytes, samples: np.ndarray, depth: int) -> None:
        (FOLDER / name).write_bytes(content)
        SAMPLES[name] = (samples, depth)
        self.expected[name] = {
            "width": samples.shape[1],
            "height": samples.shape[0],
            "channels": samples.shape[2],
            "bitDepth": depth,
            "crc32": zlib.crc32(samples.astype("<u2").tobytes()),
        }

    def add_lossy(self, name: str, samples: np.ndarray, **options) -> None:
        image = Image.fromarray(samples.astype(np.uint8).squeeze())
        image.save(FOLDER / name, **options)
        decoded = Image.open(FOLDER / name)
        turn = {6: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
        orientation = decoded.getexif().get(0x0112, 1)
        if orientation in turn:
            decoded = decoded.transpose(turn[orientation])
        array = np.array(decoded)
        self.expected[name] = {
            "width": array.shape[1],
            "height": array.shape[0],
            "channels": 1 if array.ndim == 2 else 3,
            "bitDepth": 8,
            "samples": base64.b64encode(array.tobytes()).decode(),
        }


def plain_pngs(images: Images) -> None:
    kinds = [("grey", GREY, 1), ("grey_alpha", GREY_ALPHA, 2), ("rgb", RGB, 3), ("rgba", RGBA, 4)]
    for name, color, channels in kinds:
        for depth in [1, 2, 4, 8, 16] if color == GREY else [8, 16]:
            samples = pattern(HEIGHT, WIDTH, channels, 2**depth - 1)
            # Grey of fewer bits is spread over 0 to 255.
            wide = samples * 255 // (2**depth - 1) if depth < 8 else samples
            for suffix, interlaced in [("", False), ("_interlaced", True)]:
                content = png_bytes.file(samples, depth, color, interlaced=interlaced)
                images.add(f"{name}{depth}{suffix}.png", content, wide, max(8, depth))


def palette_pngs(images: Images) -> None:
    for depth in [1, 2, 4, 8]:
        count = min(2**depth, 200)
        colors = np.stack([np.arange(count) * 255 // (count - 1), 255 - np.arange(count),
                           np.arange(count) * 7 % 256], 1)  # fmt: skip
        samples = pattern(HEIGHT, WIDTH, 1, count - 1)
        table = chunk(b"PLTE", colors.astype(np.uint8).tobytes())
        content = png_bytes.file(samples, depth, PALETTE, table, interlaced=depth == 4)
        images.add(f"palette{depth}.png", content, colors[samples[..., 0]], 8)
        if depth in (2, 8):
            # Fewer entries than colours: the rest is opaque.
            opacity = np.full(count, 255)
            opacity[:3] = [0, 100, 200]
            table += chunk(b"tRNS", opacity[:3].astype(np.uint8).tobytes())
            content = png_bytes.file(samples, depth, PALETTE, table)
            both = np.concatenate([colors, opacity[:, None]], 1)[samples[..., 0]]
            images.add(f"palette{depth}_transparent.png", content, both, 8)


def transparent_pngs(images: Images) -> None:
    for name, color, channels, depth in [
        ("grey", GREY, 1, 4), ("grey", GREY, 1, 8), ("rgb", RGB, 3, 8), ("rgb", RGB, 3, 16)
    ]:  # fmt: skip
        samples = pattern(HEIGHT, WIDTH, channels, 2**depth - 1)
        key = samples[2, 3]
        before = chunk(b"tRNS", struct.pack(f">{channels}H", *key))
        opaque = (samples != key).any(2, keepdims=True)
        wide = samples * 17 if depth == 4 else samples
        alpha = opaque * (2 ** max(8, depth) - 1)
        content = png_bytes.file(samples, depth, color, before)
        images.add(
            f"{name}{depth}_transparent.png", content, np.concatenate([wide, alpha], 2),
            max(8, depth),
        )  # fmt: skip


def tagged_pngs(images: Images) -> None:
    samples = pattern(HEIGHT, WIDTH, 3, 255)
    profile = zlib.compress(png_bytes.icc_profile(b"RGB "))
    primaries = [31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000]
    for name, before in [
        ("srgb", chunk(b"sRGB", b"\x01")),
        ("gamma", chunk(b"gAMA", struct.pack(">I", 50000))
            + chunk(b"cHRM", struct.pack(">8I", *primaries))),
        ("profile", chunk(b"iCCP", b"a profile\0\0" + profile)),
    ]:  # fmt: skip
        images.add(f"tagged_{name}.png", png_bytes.file(samples, 8, RGB, before), samples, 8)


def refused(images: Images) -> None:
    """Files that must be refused, and why is in the tests."""
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    end = chunk(b"IEND", b"")
    start = png_bytes.SIGNATURE
    files = {
        "refused_wide.png": start + png_bytes.header(65_536, 1, 8, GREY) + data + end,
        "refused_pixels.png": start + png_bytes.header(65_535, 65_535, 1, GREY) + data + end,
        "refused_short.png": start + png_bytes.header(10_000, 10_000, 16, RGBA) + data + end,
        "refused_width_0.png": start + png_bytes.header(0, 8, 8, GREY) + data + end,
        "refused_depth_3.png": start + png_bytes.header(8, 8, 3, GREY) + data + end,
        "refused_no_palette.png": start + png_bytes.header(8, 8, 8, PALETTE) + data + end,
        "refused_no_pixels.png": start + png_bytes.header(8, 8, 8, GREY) + end,
        "refused_filter_9.png": start + png_bytes.header(4, 2, 8, GREY)
            + chunk(b"IDAT", zlib.compress(b"\x09abcd\x09abcd")) + end,
        "refused_few_rows.png": start + png_bytes.header(99, 99, 8, GREY) + data + end,
    }  # fmt: skip
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    cmyk = Image.fromarray(pattern(HEIGHT, WIDTH, 4, 255).astype(np.uint8), "CMYK")
    cmyk.save(FOLDER / "refused_cmyk.jpg", "JPEG")


def jpegs(images: Images) -> None:
    color = pattern(24, 40, 3, 255)
    images.add_lossy("color.jpg", color, quality=90, subsampling=0)
    images.add_lossy("subsampled.jpg", color, quality=80, subsampling=2)
    images.add_lossy("progressive.jpg", color, quality=85, progressive=True)
    images.add_lossy("grey.jpg", pattern(24, 40, 1, 255), quality=90)
    images.add_lossy(
        "profile.jpg", color, quality=70, icc_profile=png_bytes.icc_profile(b"RGB ")
    )
    for orientation in (3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        images.add_lossy(f"turned_{orientation}.jpg", color, quality=90, exif=exif)


def webps(images: Images) -> None:
    def content(samples: np.ndarray, **options) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(samples.astype(np.uint8)).save(buffer, "WEBP", exact=True, **options)
        return buffer.getvalue()

    color, alpha = pattern(HEIGHT, WIDTH, 3, 255), pattern(HEIGHT, WIDTH, 4, 255)
    profile = png_bytes.icc_profile(b"RGB ")
    exif = Image.Exif()
    exif[0x0112] = 6
    images.add("rgb8.webp", content(color, lossless=True), color, 8)
    images.add("rgba8.webp", content(alpha, lossless=True), alpha, 8)
    images.add("profile.webp", content(color, lossless=True, icc_profile=profile), color, 8)
    images.add(
        "turned_6.webp", content(color, lossless=True, exif=exif), np.rot90(color, -1), 8
    )
    images.add_lossy("color.webp", pattern(24, 40, 3, 255), quality=80)
    camera = Image.Exif()
    camera[0x010F] = "a camera"
    described = content(
        color, lossless=True, exif=camera, xmp=b"<x/>", icc_profile=png_bytes.icc_profile(b"GRAY")
    )  # fmt: skip
    images.add("described.webp", described + b"trailing", color, 8)
    frames = [Image.fromarray(pattern(HEIGHT, WIDTH, 3, top).astype(np.uint8)) for top in (99, 255)]
    frames[0].save(FOLDER / "refused_animated.webp", save_all=True, append_images=frames[1:])


def turned_pngs(images: Images) -> None:
    """Files whose EXIF orientation Pillow writes, and texts in which ImageMagick keeps one."""
    samples = pattern(9, 14, 3, 255)
    image = Image.fromarray(samples.astype(np.uint8))
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        image.save(buffer, "PNG", exif=exif)
        turned = np.array(ImageOps.exif_transpose(Image.open(buffer))).astype(np.int64)
        images.add(f"turned_{orientation}.png", buffer.getvalue(), turned, 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(samples, -1)
    for name, kind, data in [
        ("text", b"exif", exif.tobytes()), ("compressed_text", b"APP1", exif.tobytes())
    ]:  # fmt: skip
        digits = data.hex().encode()
        lines = b"".join(digits[at : at + 72] + b"\n" for at in range(0, len(digits), 72))
        content = b"\n%s\n%8d\n%s" % (kind, len(data), lines)
        text = (
            chunk(b"tEXt", b"Raw profile type exif\0" + content)
            if name == "text"
            else chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(content))
        )
        images.add(f"turned_6_{name}.png", png_bytes.file(samples, 8, RGB, text), turned, 8)


def described(images: Images) -> None:
    """Files with much beside the image."""
    samples = pattern(HEIGHT, WIDTH, 3, 255)
    before = b"".join([
        chunk(b"cICP", bytes([12, 13, 0, 1])),
        chunk(b"mDCV", struct.pack(">8H2I", *range(8), 10_000_000, 50)),
        chunk(b"cLLI", struct.pack(">2I", 10_000_000, 4_000_000)),
        chunk(b"pHYs", struct.pack(">IIB", 11_811, 5_906, 1)),
        chunk(b"tEXt", b"Title\0a title"), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
        chunk(b"tIME", bytes([7, 230, 1, 2, 3, 4, 5])), chunk(b"bKGD", bytes(6)),
        chunk(b"acTL", struct.pack(">II", 3, 0)),
    ])  # fmt: skip
    images.add(
        "described.png", png_bytes.file(samples, 8, RGB, before) + b"trailing", samples, 8
    )
    for name, space in [("grey", b"GRAY"), ("cmyk", b"CMYK")]:
        profile = zlib.compress(png_bytes.icc_profile(space))
        content = png_bytes.file(samples, 8, RGB, chunk(b"iCCP", b"a profile\0\0" + profile))
        images.add(f"misfit_{name}.png", content, samples, 8)
    color = pattern(24, 40, 3, 255)
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    images.add_lossy(
        "described.jpg", color, quality=90, exif=exif, dpi=(300, 150), comment="a comment",
        icc_profile=png_bytes.icc_profile(b"CMYK"),
    )  # fmt: skip


def premultiplied() -> dict:
    """Colours times alpha are upscaled and divided by the upscaled alpha; pixels whose alpha becomes
    0 are black."""
    cases = {}
    for name, scale in [
        ("rgba8.png", 2), ("rgba16.png", 2), ("grey_alpha8.png", 3), ("grey_alpha16.png", 2),
        ("palette2_transparent.png", 2), ("rgb8_transparent.png", 3),
    ]:  # fmt: skip
        samples, depth = SAMPLES[name]
        maximum = 2**depth - 1
        alpha = samples[..., -1:] / maximum
        color = image_resizing.resize(samples[..., :-1] / maximum * alpha, scale, None)
        large = image_resizing.resize(alpha, scale, None)
        with np.errstate(divide="ignore", invalid="ignore"):
            color = np.where(large * maximum >= 0.5, color / large, 0)
        result = np.floor(np.clip(np.concatenate([color, large], 2), 0, 1) * maximum + 0.5)
        cases[name] = {
            "scale": scale,
            "samples": base64.b64encode(result.astype("<u2").tobytes()).decode(),
        }
    return cases


def resizing() -> list[dict]:
    cases = []
    for factor, height, width in [
        (2, 5, 7), (3, 4, 3), (4, 2, 5), (1 / 2, 8, 6), (1 / 3, 9, 15), (1 / 4, 8, 12), (1 / 8, 16, 8)
    ]:  # fmt: skip
        for maximum in (255, 65_535, None):
            for border in ("symmetric", "replicated"):
                image = pattern(height, width, 1, maximum or 1000)
                result = image_resizing.resize(image, factor, maximum, border)
                scale = round(factor) if factor > 1 else -round(1 / factor)
                cases.append({
                    "scale": scale, "maximum": maximum, "border": border,
                    "height": height, "width": width, "samples": image.ravel().tolist(),
                    "result": result.ravel().tolist(),
                })  # fmt: skip
    return cases


def luma(image: np.ndarray) -> np.ndarray:
    """Y of 8-bit RGB or of grey as three equal channels, not rounded."""
    rgb = np.repeat(image, 3, 2) if image.shape[2] == 1 else image
    return 16 + rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def psnr(a: np.ndarray, b: np.ndarray, border: int) -> float:
    inside = (slice(border, -border), slice(border, -border))
    return float(10 * np.log10(255**2 / np.mean((luma(a) - luma(b))[inside] ** 2)))


def ssim(a: np.ndarray, b: np.ndarray, border: int) -> float:
    inside = (slice(border, -border), slice(border, -border))
    x, y = luma(a)[inside], luma(b)[inside]
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(weights, weights)
    window /= window.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, window, mode="valid")

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    top = (2 * mx * my + c1) * (2 * cov + c2)
    return float(np.mean(top / ((mx**2 + my**2 + c1) * (vx + vy + c2))))


def metrics(images: Images) -> list[dict]:
    cases = []
    for channels in (1, 3):
        original = pattern(40, 52, channels, 255)
        name = f"metric_{channels}.png"
        color = GREY if channels == 1 else RGB
        images.add(name, png_bytes.file(original, 8, color), original, 8)
        for scale in (2, 4):
            low = image_resizing.resize(original, 1 / scale, 255)
            result = image_resizing.resize(low, scale, 255).astype(np.int64)
            other = f"metric_{channels}_x{scale}.png"
            images.add(other, png_bytes.file(result, 8, color), result, 8)
            cases.append({
                "original": name, "result": other, "border": scale,
                "psnr": psnr(original, result, scale), "ssim": ssim(original, result, scale),
            })  # fmt: skip
    return cases


def sets(folder: Path) -> list[dict]:
    """Bicubic interpolation of the low-resolution images that a data set has."""
    results = []
    for name in ("Set5", "Set14"):
        for scale in (2, 3, 4):
            values = []
            for path in sorted((folder / name / "HR").glob("*.png")):
                high = np.array(Image.open(path).convert("RGB"))
                low_path = folder / name / f"LR_bicubic/X{scale}/{path.stem}x{scale}.png"
                low = np.array(Image.open(low_path).convert("RGB"))
                result = image_resizing.resize(low, scale, 255)
                high = high[: result.shape[0], : result.shape[1]]
                values.append((psnr(high, result, scale), ssim(high, result, scale)))
            mean = np.mean(values, 0)
            results.append({"set": name, "scale": scale, "psnr": mean[0], "ssim": mean[1]})
    return results


def write(name: str, value: object) -> None:
    (FOLDER / name).write_text(json.dumps(value, indent=None, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    images = Images()
    for make in (plain_pngs, palette_pngs, transparent_pngs, tagged_pngs, refused, jpegs, webps,
                 turned_pngs, described):
        make(images)
    write("metrics.json", metrics(images))
    write("images.json", images.expected)
    write("resizing.json", resizing())
    write("premultiplied.json", premultiplied())
    if arguments.sets:
        write("sets.json", sets(arguments.sets))


if __name__ == "__main__":
    main()
