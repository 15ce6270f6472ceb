"""Scenes as pictures: the keyframes of consecutive shots side by side, in the film's own proportions."""

import functools
import math
from collections.abc import Callable

import numpy as np

from m2s_lib.display.palette import GREY
from m2s_lib.display.text import NO_PICTURES, timecode_pair
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

GAP = 2  # white pixels between shots
BLACK = 12  # of 255: the mean of a picture that shows nothing
WIDEST, NARROWEST, UNKNOWN = 4.0, 0.4, 16 / 9  # proportions that are believed; what is taken for the others


def filmstrip(
    store: ShotStore,
    start: int,
    n: int,
    height_px: int = 72,
    per_row: int = 0,
    text: str = NO_PICTURES,
    edit: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Shots start .. start + n - 1 as one picture, one keyframe each (of several the
    middle one, or the nearest to it that is not black).

    Keyframes are stored square; they are drawn in the film's proportions (`store.aspect`).

    Args:
        store: the film.
        start: first shot, from 0. n: shots in the scene, 1 or more.
        height_px: height of one keyframe.
        per_row: shots in a row; 0 puts all into one row.
        text: what the picture says for a film without pixels.
        edit: what is done to the keyframes uint8 [n, h, w, c] before they are drawn, `blurred` for instance.

    Returns:
        uint8 [H, W, 3]; W and H depend only on n, per_row, height_px and the proportions.

    Raises:
        M2SError: shots outside the film.
    """
    check_scene(store, start, n)
    width_px = frame_width(store, height_px)
    across = min(per_row or n, n)
    down = math.ceil(n / across)
    shape = (down * (height_px + GAP) - GAP, across * (width_px + GAP) - GAP, 3)
    if not store.has_pixels:
        return placeholder(shape[0], shape[1], text)
    strip = np.full(shape, 255, np.uint8)
    frames = shown_frames(store.scene(start, n))
    for i, frame in enumerate(frames if edit is None else edit(frames)):
        top, left = i // across * (height_px + GAP), i % across * (width_px + GAP)
        strip[top : top + height_px, left : left + width_px] = resize(frame, height_px, width_px)
    return strip


def frame_width(store: ShotStore, height_px: int) -> int:
    """Width in pixels of a keyframe `height_px` high."""
    if height_px < 1:
        raise M2SError(f"height_px is {height_px}, expected 1 or more")
    return max(1, round(height_px * proportions(store)))


def proportions(store: ShotStore) -> float:
    """Width / height of the film; 16:9 where it is unknown or cannot be (0, NaN)."""
    aspect = float(store.aspect)
    return min(max(aspect, NARROWEST), WIDEST) if math.isfinite(aspect) and aspect > 0 else UNKNOWN


def shown_frames(scene: np.ndarray) -> np.ndarray:
    """The keyframe of each shot that people see: uint8 [n, k, h, w, c] -> [n, h, w, c].

    It is the one nearest to the middle that is not black; the middle one where all are.
    """
    n, k = scene.shape[:2]
    order = sorted(range(k), key=lambda j: abs(j - k // 2))  # the middle first
    if k == 1:
        return scene[:, 0]
    seen = ~is_black(scene)[:, order]  # [n, k]
    return scene[np.arange(n), np.asarray(order)[seen.argmax(axis=1)]]  # [n, h, w, c]


def is_black(frames: np.ndarray) -> np.ndarray:
    """Whether pictures show nothing: uint8 [..., h, w, c] -> bool [...]."""
    return frames.mean(axis=(-3, -2, -1)) < BLACK


@functools.lru_cache(maxsize=256)
def start_times(store: ShotStore) -> np.ndarray:
    """When each shot begins, seconds, float64 [n_shots]; kept, since a table is slow at single values."""
    return store.shots["start_s"].to_numpy(dtype=float)


@functools.lru_cache(maxsize=4096)
def poster_shot(store: ShotStore, start: int, n: int) -> int:
    """The shot that stands for a scene: the one nearest to its middle whose picture is not black."""
    order = sorted(range(n), key=lambda j: abs(j - n // 2))
    if not store.has_pixels:
        return start + n // 2
    black = is_black(shown_frames(store.scene(start, n)))
    return start + next((j for j in order if not black[j]), n // 2)


def resize(frame: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """One picture uint8 [h, w, c] -> [height_px, width_px, c], smoothly."""
    from PIL import Image

    if frame.shape[:2] == (height_px, width_px):
        return frame
    picture = Image.fromarray(np.ascontiguousarray(frame))
    return np.asarray(picture.resize((width_px, height_px), Image.Resampling.LANCZOS))


def placeholder(height: int, width: int, text: str = NO_PICTURES) -> np.ndarray:
    """A quiet grey picture uint8 [height, width, 3] that says why there is no picture."""
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    if height < 1 or width < 1:
        raise M2SError(f"a picture of {height} x {width} px cannot be drawn: both sides need at least 1 px")
    picture = Image.new("RGB", (width, height), "#ececec")
    draw = ImageDraw.Draw(picture)
    font_path = font_manager.findfont("DejaVu Sans")
    for size in range(min(16, max(5, height // 3)), 4, -1):
        font = ImageFont.truetype(font_path, size)
        if draw.textlength(text, font=font) <= 0.95 * width:
            draw.text((width / 2, height / 2), text, fill=GREY, font=font, anchor="mm")
            break
    draw.rectangle((0, 0, width - 1, height - 1), outline="#c4c4c4")
    return np.asarray(picture)


def timecode_range(store: ShotStore, start: int, n: int) -> str:
    """When a scene plays: 'mm:ss-mm:ss', 'h:mm:ss-h:mm:ss' from one hour on, 'shots a-b' without times."""
    check_scene(store, start, n)
    shots = store.shots
    times = timecode_pair(float(shots["start_s"].iloc[start]), float(shots["end_s"].iloc[start + n - 1]))
    return times or (f"shot {start}" if n == 1 else f"shots {start}-{start + n - 1}")


def check_scene(store: ShotStore, start: int, n: int) -> None:
    """M2SError when the film has no such shots."""
    if n < 1 or start < 0 or start + n > store.n_shots:
        raise M2SError(
            f"film {store.film_id}: a scene of {n} shots from shot {start} was asked for, but it has "
            f"{store.n_shots} shots (0..{store.n_shots - 1})"
        )
