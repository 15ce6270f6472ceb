"""When each frame is shown, from presentation stamps that may be wrong.

Joined recordings have clocks that restart, some writers leave one stamp far off or stamps that repeat. The
stamps of a sound stream pass through unchanged; the others are mended as a player would show the frames: in
the decoder's order, each for about as long as its neighbours.
"""

import numpy as np

LEAP_S = 10.0  # seconds; a longer step between frames of a broadcast is a clock that was set anew
OFF_S = 2.0  # seconds between a frame's presentation and decoding stamps that reordering may explain
REORDERED = 16  # frames that a decoder may hold back, the most that H.264 and HEVC allow


def off_stamps(pts: np.ndarray, dts: np.ndarray, step: float) -> np.ndarray:
    """Which presentation stamps are too far from their decoding stamps to be right, bool [n].

    Args:
        pts, dts: float64 [n], seconds, NaN where unknown. step: seconds of a usual frame.
    """
    with np.errstate(invalid="ignore"):
        return np.abs(pts - dts) > max(OFF_S, REORDERED * step)


def leaps(stamps: np.ndarray, step: float, broadcast: bool) -> np.ndarray:
    """After which frames another clock begins, bool [n - 1].

    A clock restarts where time goes back by more than reordering explains, and in a broadcast also where it
    jumps ahead; elsewhere a long step is a picture that is shown for long.
    """
    d = np.diff(stamps)
    back = d < -max(OFF_S, REORDERED * step)
    return back | (d > max(LEAP_S, REORDERED * step)) if broadcast else back


def frame_times(stamps: np.ndarray, step: float, *, tick: float = 0.0, broadcast: bool = False) -> np.ndarray:
    """Start of each frame and end of the last, ascending, float64 [n + 1], seconds.

    Args:
        stamps: float64 [n], n >= 1, in display order, NaN where unknown or wrong.
        step: seconds of a usual frame, > 0; how long the last frame is shown.
        tick: the stream's unit of time; stamps that differ by no more are one stamp where frames are longer.
        broadcast: whether clocks may jump ahead.

    >>> frame_times(np.array([0.0, 0.0, 0.1, np.nan, 0.2]), 0.05).round(3).tolist()
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    >>> frame_times(np.array([7.0, 7.1, 2.0, 2.1]), 0.1).round(3).tolist()
    [7.0, 7.1, 7.2, 7.3, 7.4]
    """
    known = np.isfinite(stamps)
    at = np.arange(len(stamps))
    filled = np.interp(at, at[known], stamps[known]) if known.any() else at * step
    ends = np.flatnonzero(leaps(filled, step, broadcast)) + 1
    times = np.zeros(0)
    for part in np.split(filled, ends):
        part = _spread(np.maximum.accumulate(part), step, tick if tick < step / 4 else 0.0)
        times = np.append(times, part + (times[-1] + step - part[0] if len(times) else 0.0))
    return np.append(times, times[-1] + step)


def _spread(stamps: np.ndarray, step: float, tick: float) -> np.ndarray:
    """Frames of one stamp share the time until the next stamp; the last ones take `step` each."""
    first = np.append(True, np.diff(stamps) > tick * 1.5)
    starts = np.flatnonzero(first)  # of each group of equal stamps
    if len(starts) == len(stamps):
        return stamps
    lengths = np.diff(np.append(starts, len(stamps)))
    until = np.append(stamps[starts[1:]], stamps[starts[-1]] + lengths[-1] * step)
    group = np.cumsum(first) - 1
    within = (np.arange(len(stamps)) - starts[group]) / lengths[group]  # 0..1
    return stamps[starts][group] + within * (until - stamps[starts])[group]
