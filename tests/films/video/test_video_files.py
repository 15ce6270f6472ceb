"""missing_bytes: whole files miss nothing, cut files exactly what was cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib.films.video.video_files import missing_bytes
from tests.helpers.videos import render


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "avi", "m4v", "mpg", "ts"])
def test_whole_files_miss_nothing_and_cut_files_what_was_cut(tmp_path, ending):
    codec = {"webm": "libvpx", "mpg": "mpeg2video"}.get(ending, "mpeg4")
    path = render(tmp_path / f"a.{ending}", shots=(20,), codec=codec)
    assert missing_bytes(path) == 0
    data = path.read_bytes()
    path.write_bytes(data[:-700])
    assert missing_bytes(path) == (0 if ending in ("mpg", "ts") else 700)
    path.write_bytes(data + b"\0" * 5000)  # padding is no damage
    assert missing_bytes(path) == 0


def box(kind: bytes, body: bytes, wide: bool = False) -> bytes:
    if wide:
        return (1).to_bytes(4, "big") + kind + (16 + len(body)).to_bytes(8, "big") + body
    return (8 + len(body)).to_bytes(4, "big") + kind + body


@given(st.integers(0, 200), st.booleans(), st.integers(0, 40))
def test_mp4_boxes_of_both_sizes(tmp_path_factory, length, wide, cut):
    data = box(b"ftyp", b"isom0000") + box(b"moov", b"x" * 30) + box(b"mdat", b"y" * length, wide)
    cut = min(cut, length)
    path = tmp_path_factory.getbasetemp() / "boxes.mp4"
    path.write_bytes(data[: len(data) - cut])
    assert missing_bytes(path) == cut


def test_lengths_that_are_left_open(tmp_path):
    path = tmp_path / "open"
    path.write_bytes(box(b"ftyp", b"isom0000") + b"\0\0\0\0mdat" + b"y" * 50)  # 0: to the end of the file
    assert missing_bytes(path) == 0
    path.write_bytes(b"\x1a\x45\xdf\xa3\x81\x00" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"cluster")
    assert missing_bytes(path) == 0
    path.write_bytes(b"\x1a\x45\xdf\xa3\x81\x00" + b"\x18\x53\x80\x67\x89" + b"cluster")
    assert missing_bytes(path) == 2


@given(st.binary(max_size=80))
def test_any_bytes_are_survived(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any"
    for head in (b"", b"\x1a\x45\xdf\xa3", b"RIFF", b"\0\0\0\x10ftyp"):
        path.write_bytes(head + data)
        assert missing_bytes(path) >= 0
