"""Zip archives and .npy files assembled by hand, always with the same bytes."""

from __future__ import annotations

import io
import warnings
import zipfile


def zip_bytes(
    entries: list[tuple[str, bytes]], *, deflated: bool | set[str] = False, comment: bytes = b""
) -> bytes:
    """A zip archive of `entries`; `deflated` says all, none, or the names to compress."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Duplicate names are wanted in one fixture.
        for name, data in entries:
            is_deflated = deflated if isinstance(deflated, bool) else name in deflated
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.compress_type = zipfile.ZIP_DEFLATED if is_deflated else zipfile.ZIP_STORED
            archive.writestr(info, data)
        archive.comment = comment
    return buffer.getvalue()


def unzip(data: bytes) -> list[tuple[str, bytes]]:
    """The entries of a zip archive in order."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def npy_bytes(header: bytes, data: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy file with this header text, padded as NumPy pads."""
    width = 2 if version == (1, 0) else 4
    padding = -(8 + width + len(header) + 1) % 64
    text = header + b" " * padding + b"\n"
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(width, "little") + text + data


def safetensors_bytes(header: bytes, data: bytes, *, length: int | None = None) -> bytes:
    """A safetensors file with this header text and no padding; `length` may lie."""
    count = len(header) if length is None else length
    return count.to_bytes(8, "little") + header + data
