"""scan_film: exact frames, times from timestamps, bounded memory, and every bad file said by name."""

import os
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.films.video import decoding
from m2s_lib.films.video.cut_screening import LazyPicture
from m2s_lib.films.video.decoding import ScanConfig, keyframe_positions, scan_film
from m2s_lib.films.video.frames import open_frames
from m2s_lib.films.video.keyframe_keeper import KeyframeKeeper
from tests.helpers.videos import damage, number_of, picture, render, render_audio

FORMATS = [
    ("mp4", "libx264"), ("mkv", "libx264"), ("mov", "libx264"), ("m4v", "libx264"), ("ts", "libx264"),
    ("avi", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx"), ("mpg", "mpeg2video"), ("ts", "mpeg2video"),
    ("mkv", "libx265"), ("webm", "libvpx-vp9"), ("mp4", "libsvtav1"),
]  # fmt: skip
CUTS = [0, 30, 50, 90]  # starts of the shots of the `film` fixture, 120 frames


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return render(tmp_path_factory.mktemp("film") / "four shots.mp4", shots=(30, 20, 40, 30))


def numbers(scanned) -> list[list[int]]:
    return [[number_of(frame) for frame in shot] for shot in scanned.keyframes]


def expected(scanned, k: int) -> list[list[int]]:
    pairs = zip(scanned.shots["start_frame"], scanned.shots["end_frame"], strict=True)
    return [keyframe_positions(start, end, k) for start, end in pairs]


@given(st.integers(0, 500), st.integers(1, 300), st.integers(1, 12))
def test_keyframe_positions_are_evenly_inside_the_shot(start, length, k):
    found = keyframe_positions(start, start + length - 1, k)
    assert found == [start + int(np.floor((i + 0.5) / k * length + 1e-9)) for i in range(k)]
    assert start <= found[0] <= found[-1] < start + length


def test_rendering_leaves_the_process_its_ordinary_priority(tmp_path):
    """SVT-AV1 makes a root's thread real-time; with that, this run would starve the rest of the machine."""
    render(tmp_path / "film.mp4", codec="libsvtav1")
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_one_pass_finds_shots_and_keeps_their_exact_keyframes(film, reader, k):
    scanned = scan_film(film, ScanConfig(frames_per_shot=k, reader=reader))
    assert scanned.shots["start_frame"].tolist() == CUTS
    assert scanned.shots["end_frame"].tolist() == [29, 49, 89, 119]
    assert scanned.shots["shot"].tolist() == [0, 1, 2, 3]
    assert scanned.keyframes.shape == (4, k, 128, 128, 3)
    assert scanned.keyframes.dtype == np.uint8
    assert numbers(scanned) == expected(scanned, k)
    assert (scanned.width, scanned.height, scanned.fps, scanned.damaged) == (160, 128, 24.0, 0)
    assert scanned.aspect == pytest.approx(160 / 128)
    assert scanned.duration_s == pytest.approx(5.0, abs=1e-4)


@pytest.mark.parametrize(("ending", "codec"), FORMATS)
def test_every_container_is_exact_in_order_and_by_seeking(tmp_path, ending, codec):
    path = render(tmp_path / f"a.{ending}", shots=(40, 40, 40), codec=codec, gop=15)
    whole = scan_film(path, ScanConfig(frames_per_shot=2))
    assert whole.shots["start_frame"].tolist() == [0, 40, 80]
    assert numbers(whole) == expected(whole, 2)
    given_shots = pd.DataFrame({"start_frame": [0, 17, 60, 119], "end_frame": [9, 44, 118, 119]})
    sought = scan_film(path, ScanConfig(frames_per_shot=2), given_shots)
    assert numbers(sought) == expected(sought, 2)
    np.testing.assert_allclose(np.diff(whole.shots["start_s"]), 40 / 24, atol=2e-3)


def test_times_are_the_timestamps_and_not_index_over_fps(tmp_path):
    pts = [40 * i if i < 30 else 40 * 30 + 100 * (i - 30) for i in range(60)]  # 25 frames/s, then 10
    scanned = scan_film(render(tmp_path / "vfr.mkv", shots=(30, 30), pts=pts))
    assert scanned.shots["start_frame"].tolist() == [0, 30]
    np.testing.assert_allclose(scanned.shots["start_s"], [0.0, 1.2], atol=1e-3)
    assert scanned.shots["end_s"][0] == scanned.shots["start_s"][1]
    assert scanned.shots["end_s"][1] >= pts[-1] / 1000


def test_shots_longer_than_the_buffer_get_the_same_keyframes(film, monkeypatch):
    config = ScanConfig(frames_per_shot=3, frame_size=256)  # 196 kB a frame: one MiB holds five
    large = scan_film(film, config)
    monkeypatch.setattr(decoding, "_BUFFER", 1 << 20)
    small = scan_film(film, config)
    np.testing.assert_array_equal(small.keyframes, large.keyframes)
    assert numbers(small) == expected(small, 3)


def test_a_film_without_cuts_is_one_shot_and_two_shots_are_two(tmp_path):
    one = scan_film(render(tmp_path / "one.mp4", shots=(40,)))
    assert one.shots[["start_frame", "end_frame"]].to_numpy().tolist() == [[0, 39]]
    assert numbers(one) == [[20]]
    assert len(scan_film(render(tmp_path / "two.mp4", shots=(20, 20))).shots) == 2


def test_a_film_of_one_frame(tmp_path):
    scanned = scan_film(render(tmp_path / "still.mp4", shots=(1,)), ScanConfig(frames_per_shot=2))
    assert numbers(scanned) == [[0, 0]]
    assert scanned.duration_s > 0


def test_names_with_spaces_and_unicode_and_a_percent_sign(tmp_path):
    path = render(tmp_path / "naïve café 映画 100%d.mp4", shots=(20, 20))
    assert len(scan_film(path).shots) == 2


def test_a_users_boundaries_skip_detection_and_may_leave_gaps(film):
    frames = scan_film(film, None, pd.DataFrame({"start_frame": [3, 60], "end_frame": [20, 70]}))
    assert frames.shots[["start_frame", "end_frame"]].to_numpy().tolist() == [[3, 20], [60, 70]]
    assert numbers(frames) == [[12], [65]]
    seconds = scan_film(film, None, pd.DataFrame({"start_s": [0.125, 2.5], "end_s": [0.875, 71 / 24]}))
    assert seconds.shots[["start_frame", "end_frame"]].to_numpy().tolist() == [[3, 20], [60, 70]]
    np.testing.assert_array_equal(seconds.keyframes, frames.keyframes)
    np.testing.assert_allclose(seconds.shots["end_s"], [21 / 24, 71 / 24], atol=1e-4)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"start_frame": [0, 60], "end_frame": [50, 120]},
            r"four shots.mp4: shot 1 .* frames 60..120; .* 0..119",
        ),
        ({"start_frame": [0, 40], "end_frame": [50, 60]}, r"shot 1 .* without overlap"),
        ({"start_frame": [9], "end_frame": [5]}, r"shot 0 .* frames 9..5"),
        ({"start_frame": [], "end_frame": []}, r"empty or not finite \(0 rows\)"),
        ({"start_frame": ["a"], "end_frame": ["b"]}, r"must be numbers"),
        ({"begin": [0], "end": [5]}, r"needs the columns start_frame, end_frame or start_s, end_s; it has"),
    ],
)
def test_boundaries_that_do_not_fit_are_refused(film, table, message):
    with pytest.raises(M2SError, match=message):
        scan_film(film, None, pd.DataFrame(table))


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_files_that_are_no_videos(tmp_path, reader):
    config = ScanConfig(reader=reader)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is not a film\n" * 100)
    render_audio(tmp_path / "song.mp4")
    for name, message in [
        ("gone.mp4", r"gone.mp4: there is no such file"),
        ("empty.mp4", r"empty.mp4 is empty \(0 bytes\)"),
        ("text.mp4", r"text.mp4 is not a video"),
        ("song.mp4", r"song.mp4 has no video stream \(its streams: audio\)"),
    ]:
        with pytest.raises(M2SError, match=message):
            scan_film(tmp_path / name, config)


def test_a_playlist_with_a_videos_name_opens_no_other_file(tmp_path, film):
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{film}\n#EXT-X-ENDLIST\n")
    with pytest.raises(M2SError, match="list.mp4 is not a video"):
        scan_film(path)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_said_to_be_cut_short(tmp_path, ending, share):
    path = render(tmp_path / f"cut.{ending}", shots=(40, 40), codec="mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(M2SError, match=rf"cut.{ending} is cut short: its header announces [\d,]+ bytes more"):
        scan_film(path)


def test_flipped_bits_are_never_silent(tmp_path):
    clean = render(tmp_path / "clean.mp4", shots=(60, 60))
    truth = scan_film(clean)
    outcomes = {"refused": 0, "same": 0, "silent": 0}
    for seed in range(12):
        path = tmp_path / "flipped.mp4"
        path.write_bytes(clean.read_bytes())
        damage(path, flips=4, seed=seed)
        try:
            found = scan_film(path)
        except M2SError as error:
            outcomes["refused" if "flipped.mp4" in str(error) else "silent"] += 1
        else:
            outcomes["same" if np.array_equal(found.keyframes, truth.keyframes) else "silent"] += 1
    assert outcomes["silent"] == 0
    assert outcomes["refused"] >= 8


def test_a_little_damage_passes_when_it_is_allowed_and_is_counted(tmp_path, monkeypatch):
    path = render(tmp_path / "scratched.mp4", shots=(60, 60))
    damage(path, flips=3, seed=1)
    with pytest.raises(
        M2SError, match=r"scratched.mp4 is damaged: \d+ of 120 decoded frames .*allowed: 1.00%"
    ):
        scan_film(path)
    monkeypatch.setattr(decoding, "MOST_DAMAGED", 1.0)
    scanned = scan_film(path)
    assert 0 < scanned.damaged <= 120


def test_frames_come_in_order_and_can_be_read_again(film):
    frames = open_frames(film, 64)
    for _ in range(2):
        assert [number_of(f) for f in frames] == list(range(120))
    assert {i: number_of(f) for i, f in frames.fetch([100, 3, 61]).items()} == {3: 3, 61: 61, 100: 100}
    frames.close()


def test_the_open_shot_never_holds_more_than_the_buffer():
    keeper, held = KeyframeKeeper(k=3, limit=10 * 48), []
    for i in range(1000):
        frame = np.full((4, 4, 3), i % 256, dtype=np.uint8)
        keeper.add(i, LazyPicture(lambda frame=frame: frame, None, frame.nbytes))
        held.append(len(keeper._open))
        if i == 500:
            keeper.close_shot(495)
    keeper.close_shot(1000)
    assert max(held) == 10
    assert keeper.shots == [(0, 494), (495, 999)]
    assert keeper.missing == [82, 247, 412, 579, 747, 915]


def test_black_and_white_and_pillarboxed_films_have_cuts(tmp_path):
    rng = np.random.default_rng(0)
    pale = [
        np.clip(rng.normal(120 + 25 * (i // 30 % 2), 1, (128, 160, 1)), 0, 255).astype(np.uint8)
        for i in range(90)
    ]
    boxed = [
        np.concatenate([np.zeros((128, 30, 1), np.uint8), p[:, 30:130], np.zeros((128, 30, 1), np.uint8)], 1)
        for p in pale
    ]
    path = render(tmp_path / "old.mp4", pictures=[np.repeat(p, 3, axis=2) for p in boxed])
    assert scan_film(path).shots["start_frame"].tolist() == [0, 30, 60]


@pytest.mark.parametrize(
    ("field", "value"),
    [("frame_size", 4), ("frames_per_shot", 0), ("detector", "magic"), ("threshold", -1.0),
     ("reader", "opencv"), ("frames_per_shot", True)],
)  # fmt: skip
def test_impossible_settings_are_named(field, value):
    with pytest.raises(M2SError, match=rf"ScanConfig.{field} is {value!r}, expected"):
        ScanConfig(**{field: value})


@pytest.mark.parametrize(
    ("name", "least", "size", "seconds"),
    [("nasa_jwst_promo", 2, (480, 270), 13.013), ("steamboat_willie_1928_excerpt", 4, (854, 480), 28.02),
     ("sintel_trailer_2010", 10, (480, 204), 51.04)],
)  # fmt: skip
def test_real_films(shared_data, name, least, size, seconds):
    scanned = scan_film(shared_data / "films" / f"{name}.mp4")
    assert len(scanned.shots) >= least
    assert (scanned.width, scanned.height) == size
    assert scanned.duration_s == pytest.approx(seconds, abs=0.01)
    assert (
        scanned.shots["end_frame"][:-1].to_numpy() + 1 == scanned.shots["start_frame"][1:].to_numpy()
    ).all()
    assert scanned.damaged == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads and files are counted in /proc")
def test_reading_a_film_takes_one_thread_and_leaves_no_file_open(film):
    def count(what: str) -> int:
        return len(os.listdir(f"/proc/self/{what}"))

    frames = open_frames(film, 32)
    threads, files = count("task"), count("fd")
    for lazy in frames.pictures():
        lazy.small()
        assert count("task") == threads
    frames.close()
    scan_film(film, ScanConfig(frame_size=32), pd.DataFrame({"start_frame": [0], "end_frame": [99]}))
    assert count("fd") == files - 1


def test_picture_and_number_agree():
    assert [number_of(picture(i, 3)) for i in (0, 1, 511, 700)] == [0, 1, 511, 700]


def test_codec_keyframes_are_the_streams_own_key_pictures_inside_the_shots(tmp_path):
    path = render(tmp_path / "film.mp4", shots=(30, 5, 60, 40), gop=12)
    with av.open(str(path)) as container:
        seconds = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size and p.is_keyframe]
    keys = [round(24 * s) for s in sorted(seconds)]
    table = pd.DataFrame({"start_frame": [0, 30, 35, 95], "end_frame": [29, 34, 94, 134]})
    found = scan_film(path, ScanConfig(frame_size=64, keyframe="codec"), table)
    numbers = [number_of(k[0]) for k in found.keyframes]
    for number, start, end in zip(numbers, table.start_frame, table.end_frame, strict=True):
        inside = [k for k in keys if start <= k <= end]
        middle = keyframe_positions(start, end, 1)[0]
        assert number == (min(inside, key=lambda k: abs(k - middle)) if inside else middle)
    assert numbers != [keyframe_positions(a, b, 1)[0] for a, b in table.to_numpy()]  # or nothing was tested


def test_codec_keyframes_where_cuts_are_looked_for_are_the_middle_frames(tmp_path):
    path = render(tmp_path / "film.mp4", shots=(30, 30))
    plain, codec = (scan_film(path, ScanConfig(frame_size=64, keyframe=k)) for k in ("middle", "codec"))
    np.testing.assert_array_equal(plain.keyframes, codec.keyframes)


@pytest.mark.parametrize("more", [{"reader": "decord"}, {"frames_per_shot": 3}])
def test_codec_keyframes_need_one_frame_a_shot_and_pyav(more):
    with pytest.raises(M2SError, match="unless reader is 'pyav' and frames_per_shot 1"):
        ScanConfig(keyframe="codec", **more)
