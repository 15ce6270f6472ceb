"""Files as cameras, broadcasts and phones leave them: each kind read, cut and played like the plain one."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from m2s_lib.display.playback import cut_clip
from m2s_lib.films.store.stretch import scan_range
from m2s_lib.films.video.decoding import ScanConfig, scan_film
from m2s_lib.films.video.frames import open_frames
from m2s_lib.films.video.hdr import BT2020, HLG, PQ, to_sdr
from m2s_lib.films.video.timeline import frame_times

ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="makes the inputs").get_ffmpeg_exe()
HDR = "zscale=tin=bt709:min=bt709:pin=bt709:rin=tv:t={t}:m=bt2020nc:p=bt2020:r=tv:npl=203,format=yuv420p10le"
X265 = "log-level=none:colorprim=bt2020:transfer={t}:colormatrix=bt2020nc"


def run(*arguments: object) -> None:
    subprocess.run([ffmpeg, "-v", "error", "-y", *map(str, arguments)], check=True)


def copied(folder: Path, name: str, *options: str, before: tuple = ()) -> Path:
    run(*before, "-i", folder / "base.mp4", "-c", "copy", *options, folder / name)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """base.mp4 (100 frames, 4 s) and what real files do to it."""
    folder = tmp_path_factory.mktemp("real")
    pattern = ("-f", "lavfi", "-i", "testsrc2=s=192x108:r=25:d=4")
    run(*pattern, "-c:v", "libx264", "-g", 25, "-bf", 2, "-pix_fmt", "yuv420p", folder / "base.mp4")
    first, second = copied(folder, "a.ts"), copied(folder, "b.ts", "-output_ts_offset", "3600")
    (folder / "a_then_b.ts").write_bytes(first.read_bytes() + second.read_bytes())
    (folder / "b_then_a.ts").write_bytes(second.read_bytes() + first.read_bytes())
    copied(folder, "far.mp4", "-bsf:v", "setts=pts='if(eq(N,60),PTS+138240000,PTS)'")
    copied(folder, "repeat.mp4", "-bsf:v", "setts=pts=floor(PTS/2048)*2048")
    copied(folder, "turned.mp4", before=("-display_rotation", "90"))
    copied(folder, "timecode.mov", "-timecode", "01:00:00:00")
    for name, t in (("pq.mp4", "smpte2084"), ("hlg.mp4", "arib-std-b67")):
        codec = ("-c:v", "libx265", "-x265-params", X265.format(t=t), "-tag:v", "hvc1")
        run("-i", folder / "base.mp4", "-vf", HDR.format(t=t), *codec, folder / name)
    return folder


NAMES = ["base.mp4", "a.ts", "a_then_b.ts", "b_then_a.ts", "far.mp4", "repeat.mp4", "turned.mp4", "pq.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_indexed_and_complete_reading_agree(folder, name):
    frames = open_frames(folder / name, 48)
    indexed = frames.index().copy()
    through = list(frames)
    n = 200 if "then" in name else 100
    assert len(through) == n
    assert indexed[-1] - indexed[0] == pytest.approx(n / 25)
    np.testing.assert_allclose(frames.times, indexed)
    assert (np.diff(indexed) > 0).all()
    assert frames.damaged == 0
    frames.index()
    wanted = [0, 5, 58, 59, 60, 61, 62, 97, n - 1]
    fetched = frames.fetch(wanted)
    for i in wanted:
        np.testing.assert_array_equal(fetched[i], through[i])
    assert [i for i, _ in frames.between(n // 2, n // 2 + 19)] == list(range(n // 2, n // 2 + 20))
    frames.close()


@pytest.mark.parametrize("name", NAMES)
def test_shots_stretches_and_clips_have_the_frames_of_their_times(folder, tmp_path, name):
    import av

    length = 8.0 if "then" in name else 4.0
    config = ScanConfig(32)
    assert scan_film(folder / name, config).duration_s == pytest.approx(length)
    start = length / 2  # right after the join
    stretch = scan_range(folder / name, start, start + 0.8, config)
    assert stretch.shots.end_frame.iloc[-1] - stretch.shots.start_frame.iloc[0] + 1 in (20, 21)
    with av.open(str(cut_clip(folder / name, start, start + 0.8, tmp_path))) as clip:
        played = list(clip.decode(video=0))
    assert len(played) in ((20,) if name != "repeat.mp4" else (19, 20, 21))


def test_turned_pictures_stand_upright(folder, tmp_path):
    """Against FFmpeg, which turns them by itself."""
    run("-i", folder / "turned.mp4", "-frames:v", 1, folder / "turned.png")
    from PIL import Image

    with Image.open(folder / "turned.png") as picture:
        assert picture.size == (108, 192)
        expected = np.asarray(picture.convert("RGB").resize((48, 48)), dtype=float)
    frames = open_frames(folder / "turned.mp4", 48)
    assert (frames.width, frames.height) == (108, 192)
    assert frames.aspect == pytest.approx(108 / 192)
    assert np.abs(next(iter(frames)) - expected).mean() < 12
    film = scan_film(folder / "turned.mp4", ScanConfig(48))
    assert (film.width, film.height) == (108, 192)
    clip = cut_clip(folder / "turned.mp4", 1.0, 2.0, tmp_path)
    assert (open_frames(clip, 32).width, open_frames(clip, 32).height) == (108, 192)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


@pytest.mark.parametrize("name", ["pq.mp4", "hlg.mp4"])
def test_high_dynamic_range_looks_like_the_same_pictures_without(folder, name):
    plain, high = (open_frames(folder / n, 64) for n in ("base.mp4", name))
    plain.index(), high.index()
    a, b = plain.fetch([10])[10], high.fetch([10])[10]
    assert correlation(a, b) > 0.95
    assert b.std() > 0.7 * a.std(), "contrast is kept"


def test_tone_mapping_keeps_white_black_and_order():
    grey = np.linspace(0, 65_535, 32).astype(np.uint16)[None, :, None].repeat(3, 2)  # [1, 32, 3]
    for transfer in (PQ, HLG):
        mapped = to_sdr(grey, transfer, BT2020)[0, :, 0].astype(int)
        assert mapped[0] == 0
        assert mapped[-1] >= 245
        assert (np.diff(mapped) >= 0).all()


def test_the_start_timecode_is_read(folder):
    assert open_frames(folder / "timecode.mov", 32).timecode == "01:00:00:00"
    assert open_frames(folder / "base.mp4", 32).timecode == ""


def test_a_long_pause_in_a_file_is_a_picture_shown_for_long():
    stamps = np.array([0.0, 0.04, 60.0, 60.04])
    np.testing.assert_allclose(frame_times(stamps, 0.04)[:-1], stamps)
    broadcast = frame_times(stamps, 0.04, broadcast=True)
    np.testing.assert_allclose(np.diff(broadcast), 0.04)
