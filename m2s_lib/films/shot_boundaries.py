"""Shot boundaries: PySceneDetect's detectors fed frame by frame, and how found boundaries are scored.

A boundary (or cut) is the index of the first frame of a new shot; frame 0 is not one.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.files import is_count

DETECTORS = {"adaptive": 3.0, "content": 27.0, "histogram": 0.20}  # PySceneDetect's own thresholds
_GREY = 8.0  # mean saturation (of 255) under which hue and saturation say nothing
_LIT = 24  # value (of 255) that black bars stay under, compression noise included
_BLACK = 12.0  # mean RGB under which a picture is faded out; PySceneDetect's own value


class ShotDetector:
    """One of PySceneDetect's detectors, and its fade detector, fed with RGB frames in order.

    Args:
        config: `detector` ('adaptive', 'content', 'histogram'), `threshold` (0: the detector's own),
            `min_shot_s` (seconds), `fades` (bool); `ScanConfig` has them.
        fps: average frame rate; turns seconds into frames.

    >>> detector = ShotDetector(ScanConfig(), fps=24.0)                         # doctest: +SKIP
    >>> cuts = [c for i, frame in enumerate(frames) for c in detector.feed(i, frame)] + detector.finish()
    """

    def __init__(self, config, fps: float):
        from fractions import Fraction

        self._rate = Fraction(fps if fps > 0 else 25.0).limit_denominator(1001 * 1000)
        self.min_frames = max(1, round(config.min_shot_s * float(self._rate)))
        self._detector = _build(
            config.detector, config.threshold or DETECTORS[config.detector], self.min_frames
        )
        self._fades = _FadeFinder() if config.fades else None
        self._last_cut = 0
        self._seen = 0

    def feed(self, index: int, frame: np.ndarray) -> list[int]:
        """Look at frame `index` (0, 1, 2, ...; uint8 [h, w, c] RGB); return cuts now certain.

        Cuts come in increasing order, `min_frames` apart, up to a few frames (fades: half the black) late.
        """
        from scenedetect import FrameTimecode

        self._seen = index + 1
        found = [c.frame_num for c in self._detector.process_frame(FrameTimecode(index, self._rate), frame)]
        if self._fades is not None:
            found += self._fades.feed(index, frame)
        return self._accept(found)

    def finish(self) -> list[int]:
        """Cuts that only the end of the film makes certain."""
        from scenedetect import FrameTimecode

        if not self._seen:
            return []
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


class _FadeFinder:
    """Fades through black: a cut in the middle of each dark stretch that the picture comes back from.

    PySceneDetect's ThresholdDetector with its default level, on the frame's mean: the same cuts in a fraction
    of the time. A film that begins black has no cut there: nothing was shown before.
    """

    def __init__(self):
        self._dark_since: int | None = None
        self._shown = False

    def feed(self, index: int, frame: np.ndarray) -> list[int]:
        import cv2

        dark = sum(cv2.mean(frame)[:3]) / 3 < _BLACK
        if dark:
            if self._dark_since is None:
                self._dark_since = index
            return []
        since, shown = self._dark_since, self._shown
        self._dark_since, self._shown = None, True
        return [since + round((index - since) / 2)] if since is not None and shown else []


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
        """The base detector with `_PictureScore` for its frame score."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._picture_score = _PictureScore()

        def _calculate_frame_score(self, timecode, frame_img):
            return self._picture_score(frame_img)

    if kind == "adaptive":
        return Scored(adaptive_threshold=threshold, min_scene_len=min_frames)
    return Scored(threshold=threshold, min_scene_len=min_frames)


class _PictureScore:
    """PySceneDetect's content score (mean change of hue, saturation and value), of the picture that is there.

    Its score divides by three even where there is no colour, and by the whole frame even where bars fill a
    third of it, so that black-and-white or pillar-boxed films never reach its thresholds. Here grey frames
    count by value alone and frames by their lit area; for a colour film that fills the frame it is the same
    number.
    """

    def __init__(self):
        self._last: np.ndarray | None = None  # HSV uint8 [h, w, c]
        self._lit: np.ndarray | None = None  # bool-like uint8 [h, w]: was ever brighter than black bars
        self._area, self._grey, self._count = 0.5, False, 0

    def __call__(self, frame: np.ndarray) -> float:
        import cv2

        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        last, self._last = self._last, hsv
        if last is None:
            self._lit = np.zeros(hsv.shape[:2], dtype=np.uint8)
        self._grow(hsv)
        was_grey, self._grey = self._grey, cv2.mean(hsv)[1] < _GREY * self._area
        if last is None:
            return 0.0
        pixels = hsv.shape[0] * hsv.shape[1] * self._area
        if self._grey or was_grey:
            return cv2.norm(hsv[..., 2], last[..., 2], cv2.NORM_L1) / pixels
        return cv2.norm(hsv, last, cv2.NORM_L1) / (3 * pixels)

    def _grow(self, hsv: np.ndarray) -> None:
        """Update the lit area (at least half); seldom once it is large, because bars do not move."""
        import cv2

        if self._count % 8 == 0 or self._area < 0.75:
            self._lit |= cv2.compare(hsv[..., 2], _LIT, cv2.CMP_GT)
            self._area = max(cv2.countNonZero(self._lit) / self._lit.size, 0.5)
        self._count += 1


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
