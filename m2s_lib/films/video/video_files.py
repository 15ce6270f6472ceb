"""What a video file's own header says of its length: an incomplete copy is known before decoding."""

import os
from pathlib import Path

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(path: str | os.PathLike) -> int:
    """Bytes that the containers MP4/MOV, Matroska/WebM or AVI announce beyond the file's end, 0 for others.

    Raises OSError when the file cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    with open(path, "rb") as f:
        head = f.read(12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            end = _mp4_end(f, size)
        elif head[:4] == _EBML:
            end = _matroska_end(f)
        elif head[:4] == b"RIFF":
            end = 8 + int.from_bytes(head[4:8], "little")
        else:
            end = 0
    return max(end - size, 0)


def _mp4_end(f, size: int) -> int:
    """End of the last top-level box (ISO 14496-12: 32-bit size, type, a 64-bit size when the first is 1)."""
    at = 0
    while at + 8 <= size:
        f.seek(at)
        head = f.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or not kind.isalnum():  # 0: up to the end of the file; else padding after the last box
            return at
        at += length
    return at


def _matroska_end(f) -> int:
    """End of the segment, 0 when it was written as a stream of unknown length."""
    f.seek(4)
    length, _ = _vint(f)
    if length > 4096:  # an EBML header has some 30 bytes
        return 0
    f.seek(length, os.SEEK_CUR)
    if f.read(4) != _SEGMENT:
        return 0
    length, unknown = _vint(f)
    return 0 if unknown else f.tell() + length


def _vint(f) -> tuple[int, bool]:
    """EBML's variable-length integer, and whether it is the reserved value 'unknown'."""
    first = f.read(1) or b"\0"
    width = 9 - first[0].bit_length()  # leading zero bits + 1
    value = (first[0] & ((1 << (8 - width)) - 1)) if width <= 8 else 0
    value = (value << 8 * (width - 1)) | int.from_bytes(f.read(width - 1), "big")
    return value, value == (1 << 7 * width) - 1
