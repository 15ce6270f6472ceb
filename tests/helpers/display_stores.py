"""Small films for the tests of display: every shot has one flat colour, which tells its place."""

import numpy as np
import pandas as pd

from m2s_lib.films.store.shot_store import ShotStore, write_shots


def make_store(folder, film_id, n=20, k=1, aspect=16 / 9, pixels=True, timed=True, seconds=5.0, side=32):
    """A film of n shots of `seconds` each; keyframe j of shot i is filled with the colour `colour(i, j)`."""
    shots = pd.DataFrame(
        {"shot": range(n), "start_frame": np.arange(n) * 10, "end_frame": np.arange(n) * 10 + 9}
    )
    shots["start_s"] = np.arange(n) * seconds if timed else np.nan
    shots["end_s"] = (np.arange(n) + 1) * seconds if timed else np.nan
    frames = None
    if pixels:
        frames = np.empty((n, k, side, side, 3), np.uint8)
        for i in range(n):
            for j in range(k):
                frames[i, j] = colour(i, j)
    path = folder / f"{film_id}.arrow"
    write_shots(path, shots, frames, aspect=aspect, fps=2.0, source="video" if pixels else "features")
    return ShotStore(path)


def colour(shot, frame=0):
    return (10 + shot * 7 % 200, 40 * frame + 20, 200 - shot * 5 % 150)
