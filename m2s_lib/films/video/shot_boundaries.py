"""Shot boundaries: PySceneDetect's detectors and TransNetV2 fed frame by frame, and their scores.

A boundary (or cut) is the index of the first frame of a new shot; frame 0 is not one.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.films.video import transnet
from m2s_lib.films.video.cut_screening import LazyPicture, ScreenedCuts
from m2s_lib.films.video.picture_scores import FadeFinder, PictureScore, is_black
from m2s_lib.io import is_count

# PySceneDetect's own thresholds, and TransNetV2's
DETECTORS = {"adaptive": 3.0, "content": 27.0, "histogram": 0.20, "transnetv2": transnet.THRESHOLD}


SOON = 16  # frames; how late PySceneDetect tells a cut at most


class ShotDetector:
    """One of PySceneDetect's detectors, and its fade detector, fed with RGB frames in order.

    Args:
        config: `detector`, `threshold` (0: the detector's own), `min_shot_s` (seconds), `fades` (bool);
            `ScanConfig` has them.
        fps: average frame rate; turns seconds into frames.

    >>> detector = ShotDetector(ScanConfig(), fps=24.0)                         # doctest: +SKIP
    >>> cuts = [c for i, frame in enumerate(frames) for c in detector.feed(i, frame)] + detector.finish()
    """

    def __init__(self, config, fps: float):
        from fractions import Fraction

        self._rate = Fraction(fps if fps > 0 else 25.0).limit_denominator(1001 * 1000)
        self.min_frames = max(1, round(config.min_shot_s * float(self._rate)))
        threshold = config.threshold or DETECTORS[config.detector]
        self._network = transnet.TransNetCuts(threshold) if config.detector == "transnetv2" else None
        self.late = transnet.LATE if self._network else SOON  # frames, at most, that a cut is told late
        self._detector = None if self._network else _build(config.detector, threshold, self.min_frames)
        self._screened = None  # the same for lazy pictures
        if config.detector == "adaptive":
            self._screened = ScreenedCuts(config.threshold or DETECTORS["adaptive"], self.min_frames)
        self._fades = FadeFinder() if config.fades else None
        self._last_cut = 0
        self._seen = 0

    def feed(self, index: int, frame: np.ndarray | LazyPicture) -> list[int]:
        """Look at frame `index` (0, 1, 2, ...; uint8 [h, w, c] RGB, or lazy); return cuts now certain.

        Cuts come in increasing order, `min_frames` apart, up to a few frames (fades: half the black) late.
        The frames of one film are either all arrays or all lazy: lazy ones are scaled only where there may be
        a cut (`ScreenedCuts`), and the cuts are the same.
        """
        from scenedetect import FrameTimecode

        self._seen = index + 1
        lazy = isinstance(frame, LazyPicture)
        if self._network is not None:  # it finds fades, too
            return self._accept(self._network.feed(frame.small() if lazy else frame))
        if lazy and self._screened is not None and frame.thumb is not None:
            found = self._screened.feed(index, frame)
        else:
            pixels = frame.small() if lazy else frame
            cuts = self._detector.process_frame(FrameTimecode(index, self._rate), pixels)
            found = [c.frame_num for c in cuts]
        if self._fades is not None:
            found += self._fades.feed(index, frame.is_black() if lazy else is_black(frame))
        return self._accept(found)

    def finish(self) -> list[int]:
        """Cuts that only the end of the film makes certain."""
        from scenedetect import FrameTimecode

        if not self._seen:
            return []
        if self._network is not None:
            return self._accept(self._network.finish())
        return self._accept(
            [c.frame_num for c in self._detector.post_process(FrameTimecode(self._seen - 1, self._rate))]
        )

    def _accept(self, found: list[int]) -> list[int]:
        cuts = []
        for cut in sorted(found):
            if cut - self._last_cut >= self.min_frames and cut < self._seen:
                self._last_cut = cut
                cuts.append(cut)
        return cuts


def _build(kind: str, threshold: float, min_frames: int):
    """A PySceneDetect detector that takes RGB frames."""
    from scenedetect import AdaptiveDetector, ContentDetector, HistogramDetector

    if kind == "histogram":

        class Histogram(HistogramDetector):
            """Luma histograms, of RGB frames."""

            def process_frame(self, timecode, frame_img):
                return super().process_frame(timecode, np.ascontiguousarray(frame_img[..., ::-1]))

        return Histogram(threshold=threshold, min_scene_len=min_frames)

    class Scored(AdaptiveDetector if kind == "adaptive" else ContentDetector):
        """The base detector with `PictureScore` for its frame score."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._picture_score = PictureScore()

        def _calculate_frame_score(self, timecode, frame_img):
            return self._picture_score(frame_img)

    if kind == "adaptive":
        return Scored(adaptive_threshold=threshold, min_scene_len=min_frames)
    return Scored(threshold=threshold, min_scene_len=min_frames)


def score_boundaries(found: Sequence[int], truth: Sequence[int], tolerance: int = 1) -> dict[str, float]:
    """Precision, recall and F1 of boundaries, matched one to one within `tolerance` frames.

    On a line with one tolerance, matching the earliest possible pair first gives the largest matching.

    Returns:
        precision, recall, f1 (0..1; 1.0 where there was nothing to find and nothing was found), n_found,
        n_truth, n_matched.
    """
    a, b = sorted(int(x) for x in found), sorted(int(x) for x in truth)
    i = j = matched = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= tolerance:
            i, j, matched = i + 1, j + 1, matched + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    nothing = 1.0 if not a and not b else 0.0
    precision = matched / len(a) if a else nothing
    recall = matched / len(b) if b else nothing
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return dict(precision=precision, recall=recall, f1=f1, n_found=len(a), n_truth=len(b), n_matched=matched)


def read_ovsd_shots(path: str | os.PathLike) -> np.ndarray:
    """A file of `start end` lines (inclusive frames) as int64 [n_shots, 2]; gaps are transitions.

    A frame that two neighbours both name, as some of the BBC's do, is the later one's.
    Raises M2SError that names the line which is not two increasing, non-overlapping frame numbers.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise M2SError(f"{path} cannot be read as a shot table: {error}") from error
    shots: list[tuple[int, int]] = []
    for number, line in enumerate(lines, start=1):
        parts = line.replace(",", " ").split()
        if not parts:
            continue
        if len(parts) < 2 or not all(is_count(p) for p in parts[:2]):
            raise M2SError(f"{path}, line {number}: expected 'start end' as frame numbers, found {line!r}")
        start, end = int(parts[0]), int(parts[1])
        if shots and shots[-1][0] < start == shots[-1][1]:
            shots[-1] = shots[-1][0], start - 1
        if end < start or (shots and start <= shots[-1][1]):
            raise M2SError(
                f"{path}, line {number}: shot {start}..{end} ends before it starts or overlaps the one "
                f"before ({shots[-1] if shots else 'none'})"
            )
        shots.append((start, end))
    if not shots:
        raise M2SError(f"{path} lists no shot: expected one 'start end' line per shot")
    return np.asarray(shots, dtype=np.int64)


def map_frames(frames: Sequence[int] | np.ndarray, step: int) -> np.ndarray:
    """Where frames go when every `step`-th is kept: ceil((frame - 1) / step), int64, never below 0."""
    frames = np.asarray(frames, dtype=np.int64)
    return np.maximum(-((1 - frames) // step), 0)
