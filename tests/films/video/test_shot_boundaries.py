"""Detectors against PySceneDetect's own, boundary scores against a matching oracle, and real films."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from m2s_lib.errors import M2SError
from m2s_lib.films.video.decoding import ScanConfig
from m2s_lib.films.video.frames import open_frames
from m2s_lib.films.video.shot_boundaries import ShotDetector, map_frames, read_ovsd_shots, score_boundaries


def detect(frames, fps=24.0, **settings) -> list[int]:
    detector = ShotDetector(ScanConfig(**settings), fps)
    return [c for i, frame in enumerate(frames) for c in detector.feed(i, frame)] + detector.finish()


def clip(seed: int, shots=(30, 25, 35), size=64) -> list[np.ndarray]:
    """A colour film whose pictures fill the frame: noise over one drifting pattern per shot."""
    rng = np.random.default_rng(seed)
    out = []
    for number, length in enumerate(shots):
        low = (60, 160)[number % 2]
        base = rng.integers(low, low + 90, (8, 8, 3)).repeat(size // 8, 0).repeat(size // 8, 1)
        base[..., seed % 3] //= 3  # saturated
        for i in range(length):
            noise = rng.integers(-12, 13, base.shape)
            out.append(np.clip(np.roll(base, i // 2, 1) + noise, 0, 255).astype(np.uint8))
    return out


@pytest.mark.parametrize("kind", ["adaptive", "content", "histogram"])
@pytest.mark.parametrize("seed", range(5))
def test_on_colour_films_without_bars_the_cuts_are_pyscenedetects(kind, seed):
    import scenedetect as sd

    frames, fps, min_frames = clip(seed), 24.0, 10
    oracle = {
        "adaptive": sd.AdaptiveDetector(min_scene_len=min_frames),
        "content": sd.ContentDetector(min_scene_len=min_frames),
        "histogram": sd.HistogramDetector(min_scene_len=min_frames),
    }[kind]
    want = []
    for i, frame in enumerate(frames):
        bgr = np.ascontiguousarray(frame[..., ::-1])
        want += [c.frame_num for c in oracle.process_frame(sd.FrameTimecode(i, fps), bgr)]
    assert detect(frames, detector=kind, fades=False, min_shot_s=min_frames / fps) == want
    assert want == [30, 55]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=1, max_size=8))
def test_fades_are_pyscenedetects_threshold_detector(stretches):
    import scenedetect as sd

    frames = [np.full((8, 8, 3), 200, np.uint8)]  # begins lit: before a black beginning nothing was shown
    for lit, length in stretches:
        frames += [np.full((8, 8, 3), 200 if lit else 3, np.uint8)] * length
    oracle = sd.ThresholdDetector(min_scene_len=0)
    want = [
        c.frame_num for i, f in enumerate(frames) for c in oracle.process_frame(sd.FrameTimecode(i, 24.0), f)
    ]
    found = detect(frames, detector="content", threshold=255.0, min_shot_s=0.0)
    assert found == want


def test_a_film_that_begins_black_has_no_cut_there():
    frames = [np.zeros((8, 8, 3), np.uint8)] * 30 + [np.full((8, 8, 3), 200, np.uint8)] * 30
    assert detect(frames, detector="content", threshold=255.0) == []


def test_cuts_are_increasing_and_the_shortest_shot_apart():
    rng = np.random.default_rng(0)
    frames = [np.full((16, 16, 3), v, np.uint8) for v in rng.integers(0, 256, 400).repeat(3)]
    for kind in ("adaptive", "content", "histogram"):
        cuts = detect(frames, detector=kind, min_shot_s=0.4, threshold=0.1)
        assert (np.diff([0, *cuts]) >= round(0.4 * 24)).all(), kind
    assert len(detect(frames, detector="content", min_shot_s=0.0, threshold=5.0)) > 100


def test_nothing_fed_nothing_found():
    assert ShotDetector(ScanConfig(), 24.0).finish() == []


@given(
    st.lists(st.integers(0, 60), max_size=20), st.lists(st.integers(0, 60), max_size=20), st.integers(0, 4)
)
def test_scores_are_those_of_the_largest_matching(found, truth, tolerance):
    scores = score_boundaries(found, truth, tolerance)
    matched = 0
    if found and truth:
        near = np.abs(np.subtract.outer(found, truth)) <= tolerance
        matched = int((maximum_bipartite_matching(csr_array(near.astype(np.int8))) >= 0).sum())
    assert scores["n_matched"] == matched
    assert (scores["n_found"], scores["n_truth"]) == (len(found), len(truth))
    assert scores["precision"] == (matched / len(found) if found else float(not truth))
    assert scores["recall"] == (matched / len(truth) if truth else float(not found))
    total = len(found) + len(truth)
    assert scores["f1"] == pytest.approx(2 * matched / total if total else 1.0)


def test_one_true_boundary_counts_once():
    scores = score_boundaries([10, 11], [10], tolerance=1)
    assert (scores["precision"], scores["recall"], scores["n_matched"]) == (0.5, 1.0, 1)


@given(st.lists(st.integers(0, 10_000)), st.integers(1, 9))
def test_mapped_frames_are_the_ceiling(frames, step):
    assert map_frames(frames, step).tolist() == [max(0, int(np.ceil((s - 1) / step))) for s in frames]


def test_shot_files(tmp_path):
    path = tmp_path / "shots.txt"
    path.write_text("0 38\n43\t285\n\n286 378 300\n")
    assert read_ovsd_shots(path).tolist() == [[0, 38], [43, 285], [286, 378]]
    path.write_text("0 38\n38 50\n50 60\n")
    assert read_ovsd_shots(path).tolist() == [[0, 37], [38, 49], [50, 60]], (
        "a shared frame is the later one's"
    )
    for text, message in [
        ("38 38\n38 50\n", r"line 2: shot 38..50 ends before it starts or overlaps"),
        ("0 38\n30 50\n", r"line 2: shot 30..50 ends before it starts or overlaps"),
        ("0 x\n", r"line 1: expected 'start end' as frame numbers, found '0 x'"),
        ("\n", r"lists no shot"),
    ]:
        path.write_text(text)
        with pytest.raises(M2SError, match=message):
            read_ovsd_shots(path)
    with pytest.raises(M2SError, match="cannot be read"):
        read_ovsd_shots(tmp_path / "none.txt")


@pytest.fixture(scope="module")
def bunny(shared_data):
    """All frames of a whole film, and its true boundaries in the file's own frame numbers."""
    video = open_frames(shared_data / "films" / "big_buck_bunny_2008.mp4", 128)
    frames = list(video)
    video.close()
    return frames, map_frames(read_ovsd_shots(shared_data / "ovsd" / "01" / "shots.txt")[1:, 0], 6)


@pytest.mark.parametrize(("kind", "least"), [("adaptive", 0.85), ("content", 0.80), ("histogram", 0.80)])
def test_detectors_find_a_real_films_shots(bunny, kind, least):
    frames, truth = bunny
    scores = score_boundaries(detect(frames, 4.0, detector=kind), truth, tolerance=1)
    assert scores["n_truth"] == 131
    assert scores["f1"] >= least


def test_hard_cuts_of_real_films(shared_data):
    """Hard cuts read off the pictures by eye; the trailer's cut at 406 comes 9 frames after another."""
    for name, cuts, extra in [
        ("sintel_trailer_2010", [226, 336, 397, 422, 573, 623, 660, 674], 8),
        ("steamboat_willie_1928_excerpt", [113, 449, 625], 3),
        ("nasa_jwst_promo", [240], 1),
    ]:
        video = open_frames(shared_data / "films" / f"{name}.mp4", 128)
        scores = score_boundaries(detect(video, video.fps), cuts, tolerance=1)
        video.close()
        assert scores["recall"] == 1.0, name
        assert scores["n_found"] <= len(cuts) + extra, name
