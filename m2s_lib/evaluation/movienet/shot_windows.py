"""Films with labelled boundaries, and the four-shot windows around them as views of one array.

Section 4.3b encodes each shot by itself and concatenates four; each shot is then encoded and stored once, and
a sample is four rows that follow each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError

SHOTS = 4  # two before the boundary and two after it (section 4.3b, as in ShotCoL)
NO_LABEL = -1
FIELD_FPS = 24.0  # the field's code takes 24 for every film, because MovieNet does not tell


@dataclass(frozen=True)
class LabelledFilm:
    """A film's shots and whether the scene changes after each.

    Attributes:
        bounds: int64 [n_shots, 2], first and last frame (inclusive) of each shot.
        labels: int8 [n_shots]: 1 the scene changes after this shot, 0 it goes on, -1 not asked (the last
            shot, a shot without a label).
        fps: frames per second of `bounds`; 24 where it is unknown, as the field's code assumes.
    """

    film_id: str
    bounds: np.ndarray
    labels: np.ndarray
    fps: float = FIELD_FPS

    def __post_init__(self):
        if len(self.bounds) != len(self.labels) or not len(self.labels):
            raise M2SError(
                f"film {self.film_id}: {len(self.bounds)} shots and {len(self.labels)} labels; a label for "
                "each shot is expected, -1 where there is none"
            )

    @property
    def n_shots(self) -> int:
        return len(self.bounds)

    @property
    def asked(self) -> np.ndarray:
        """Shots whose boundary has a label: int64 [m]; never the last shot, after which nothing comes."""
        return np.flatnonzero(self.labels[:-1] != NO_LABEL)

    def cut_to(self, n_shots: int) -> "LabelledFilm":
        """The film as far as its first n_shots shots, for features that end earlier than the shot table."""
        return replace(self, bounds=self.bounds[:n_shots], labels=self.labels[:n_shots])


class ShotWindows:
    """Windows of four shots as views of one array: nothing is stored four times, none crosses two films.

    A film's rows are its shots, with the first and the last repeated so that the boundaries at its ends have
    four shots too. A window is then four rows that follow each other: a strided view.

    Args:
        films: their labelled boundaries become windows, in order.
        embeddings: film_id to float32 [n_shots, d].
        n: shots in a window, an even number.
    Attributes:
        array: float32 [rows, d]. view: [rows - n + 1, n * d], a view of it. first: int64 [N], the row in
        `view` of each window. film, shot: int64 [N], number of its film and the shot before its boundary.
        labels: int8 [N].
    """

    def __init__(self, films: Sequence[LabelledFilm], embeddings: Mapping[str, np.ndarray], n: int = SHOTS):
        if n < 2 or n % 2:
            raise M2SError(f"a window of {n} shots has no middle: expected an even number, 2 or more")
        self.films, self.n, edge = list(films), n, n // 2 - 1
        counts = np.array([f.n_shots for f in self.films], np.int64)
        width = _common_width(self.films, embeddings)
        starts = np.cumsum(counts + 2 * edge) - counts - 2 * edge  # of each film's rows
        self.array = np.empty((int((counts + 2 * edge).sum()), width), np.float32)  # [rows, d]
        for film, start in zip(self.films, starts, strict=True):
            rows = self.array[start : start + film.n_shots + 2 * edge]
            x = embeddings[film.film_id]
            rows[edge : edge + film.n_shots] = x
            rows[:edge], rows[edge + film.n_shots :] = x[0], x[-1]
        shots = [f.asked for f in self.films]
        self.shot = np.concatenate([*shots, np.zeros(0, np.int64)])
        self.film = np.repeat(np.arange(len(shots)), [len(s) for s in shots])
        self.first = starts[self.film] + self.shot if len(self.shot) else self.shot
        self.labels = np.concatenate(
            [*(f.labels[s] for f, s in zip(self.films, shots, strict=True)), np.zeros(0, np.int8)]
        )

    @property
    def view(self) -> np.ndarray:
        rows, d = self.array.shape
        shape = (max(rows - self.n + 1, 0), self.n * d)
        return np.lib.stride_tricks.as_strided(self.array, shape, self.array.strides, writeable=False)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.first), self.n * self.array.shape[1]

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, which) -> np.ndarray:
        """Windows by number: float32 [b, n * d], copied for these only."""
        return self.view[self.first[which]]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        out = self.view[self.first]  # [N, n d]
        return out if dtype is None else out.astype(dtype, copy=False)


def _common_width(films: Sequence[LabelledFilm], embeddings: Mapping[str, np.ndarray]) -> int:
    """d of all films, after checking that each has one finite embedding per shot."""
    width = 0
    for film in films:
        if film.film_id not in embeddings:
            raise M2SError(f"film {film.film_id} has no embeddings: encode its shots, or leave it out")
        x = embeddings[film.film_id]
        width = width or x.shape[-1]
        if x.shape != (film.n_shots, width):
            raise M2SError(
                f"film {film.film_id}: embeddings of shape {x.shape}, expected "
                f"[{film.n_shots} shots, {width}]"
            )
        if not np.isfinite(x).all():
            bad = int(np.flatnonzero(~np.isfinite(x).all(1))[0])
            raise M2SError(f"film {film.film_id}: the embedding of shot {bad} is not finite; encode it again")
    return width


def match_embeddings(
    films: Sequence[LabelledFilm], embeddings: Mapping[str, np.ndarray]
) -> tuple[list[LabelledFilm], dict[str, np.ndarray], pd.DataFrame]:
    """Films and embeddings that fit together; what does not is cut or left out, and counted.

    Real films disagree by a shot or more (keyframes that end early, tables that end late): both are cut to
    the shorter. A film without embeddings, or with fewer than two shots left, is left out.

    Returns:
        The films and embeddings to use, and a table film_id, n_shots, n_rows, n_listed, n_found (labelled
        boundaries before and after), status ('ok', 'cut', 'failed'), reason.
    """
    kept, rows, report = [], {}, []
    for film in films:
        x = embeddings.get(film.film_id)
        n = 0 if x is None else min(len(x), film.n_shots)
        cut = film.cut_to(n) if n else None
        status = "failed" if n < 2 else "ok" if len(x) == film.n_shots else "cut"
        reason = {"ok": "", "cut": f"{film.n_shots} shots, {0 if x is None else len(x)} embeddings"}
        reason["failed"] = "no embeddings" if x is None else f"only {n} shots with embeddings"
        if status != "failed":
            kept.append(cut)
            rows[film.film_id] = x[:n]
        report.append(
            {
                "film_id": film.film_id,
                "n_shots": film.n_shots,
                "n_rows": 0 if x is None else len(x),
                "n_listed": len(film.asked),
                "n_found": len(cut.asked) if status != "failed" else 0,
                "status": status,
                "reason": reason[status],
            }
        )
    columns = ["film_id", "n_shots", "n_rows", "n_listed", "n_found", "status", "reason"]
    return kept, rows, pd.DataFrame(report, columns=columns)
