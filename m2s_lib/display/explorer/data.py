"""What the scene-pair explorer looks at: films, and for any two of them B and the selected scene pairs."""

import heapq
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.display.screen_state import Films
from m2s_lib.display.text import listed_name
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

LISTED = 200  # films in a list at most; a search narrows it
_KEPT = 8  # film pairs whose B stays in memory, 4 MB each at 1,000 x 1,000 scenes
View = Callable[[str, str], tuple[np.ndarray, pd.DataFrame]]


@dataclass(frozen=True)
class PairScores:
    """One film pair under one encoder.

    Attributes:
        b: float32 [scenes of A, scenes of B]. picks: shot_a, shot_b, score, rank, kept; best first.
        low, high: least and largest of b.
    """

    b: np.ndarray
    picks: pd.DataFrame
    low: float
    high: float

    @property
    def n_kept(self) -> int:
        """How many of the picks mining keeps."""
        return int(self.picks["kept"].sum())


@dataclass(frozen=True)
class CellFacts:
    """One cell of B in numbers."""

    score: float
    windows: int  # of B
    share: float  # of the windows that score lower, 0..1
    rank: int  # among the greedy picks, 0 where it is none
    kept: bool  # whether mining keeps it
    overlaps: int  # rank of the best pick that shares shots with it and keeps it from being one, 0 for none
    low: bool  # whether all pairs that mining keeps score higher


@dataclass
class ScenePairs:
    """Everything the explorer draws from; `explorer_figure(scenes, ...)` and `explore(scenes, ...)` take it.

    Args:
        films: film table indexed by film_id, with title and path.
        stores: film_id -> ShotStore; the films that can be chosen.
        views: encoder's name -> callable (film_a, film_b) -> (B, picks), such as method.pair_view.PairView.
            The first is shown first.
        film_pairs: film_a, film_b, score (similarity by metadata), the best first within each film.
        n_shots: n, shots in a scene.
        run_dir: of the run; clips, exports and the query go there.

    Raises:
        M2SError: no encoder, no film, or films without a row in the table.
    """

    films: pd.DataFrame
    stores: Mapping[str, ShotStore]
    views: Mapping[str, View]
    film_pairs: pd.DataFrame
    n_shots: int
    run_dir: str | os.PathLike
    _similar: dict[str, dict[str, float]] = field(init=False, repr=False)
    library: Films = field(init=False, repr=False)
    _names: dict[str, str] = field(init=False, repr=False)  # what a search looks at
    _scores: OrderedDict = field(init=False, repr=False, default_factory=OrderedDict)

    def __post_init__(self):
        self.run_dir = Path(self.run_dir)
        if not self.views:
            raise M2SError("the explorer needs at least one encoder: views is empty")
        if not len(self.stores):
            raise M2SError("the explorer needs films: there is no shot store, run stage 01 first")
        if missing := sorted(set(self.stores) - set(self.films.index)):
            raise M2SError(
                f"{len(missing)} films have shots but no row in the film table, e.g. {missing[0]!r}"
            )
        titles, files = self.films["title"].to_dict(), self.films["path"].astype(str).to_dict()
        self.library = Films(self.stores, titles, files, self.run_dir)
        self._names = {film: f"{self.title(film)} {film}".casefold() for film in self.stores}
        self._similar = {film: {} for film in self.stores}
        pairs = self.film_pairs
        for a, b, score in zip(pairs["film_a"], pairs["film_b"], pairs["score"], strict=True):
            for one, other in ((a, b), (b, a)):
                if one in self._similar and other in self._similar:
                    best = self._similar[one]
                    best[other] = max(float(score), best.get(other, -np.inf))

    def __repr__(self) -> str:
        return f"ScenePairs({len(self.stores)} films, encoders {', '.join(self.views)})"

    def title(self, film: str) -> str:
        """A film's title, its id where it has none."""
        return self.library.title(film)

    def similarity(self, film_a: str, film_b: str) -> float | None:
        """Metadata similarity of a pair, None where the film pairs do not hold it."""
        return self._similar.get(film_a, {}).get(film_b)

    def best_pair(self) -> tuple[str, str]:
        """The most similar film pair whose films are long enough; without one the first two such films."""
        ranked = [(-score, a, b) for a, row in self._similar.items() for b, score in row.items() if a < b]
        for _, a, b in sorted(ranked):
            if self.can_compare(a, b):
                return a, b
        films = list(islice(filter(self.can_compare, sorted(self.stores)), 2))
        films = films if len(films) == 2 else sorted(self.stores)
        return films[0], films[min(1, len(films) - 1)]

    def can_compare(self, *films: str) -> bool:
        """Whether all these films are there and as long as a scene."""
        return all(film in self.stores and self.stores[film].n_shots >= self.n_shots for film in films)

    def list_films(self, search: str = "", beside: str = "", always: str = "") -> list[tuple[str, str]]:
        """(words, film_id) for a list: most similar first, then by title; at most `LISTED`.

        Args:
            search: only films whose title or id holds all these words, upper and lower case alike.
            beside: sort by similarity to this film and leave it out; '' sorts by the best partner's.
            always: a film that is in the list whatever is searched; first where the search leaves it out.
        """
        words = search.casefold().split()
        named = [f for f in self._similar if f != beside and all(word in self._names[f] for word in words)]
        rows = heapq.nsmallest(LISTED, (self._row(film, beside) for film in named))
        if always in self._similar and always != beside and always not in (row[-1] for row in rows):
            rows = [self._row(always, beside), *rows][:LISTED]
        return [(self._listed(title, film, -s, none, beside), film) for none, s, title, film in rows]

    def _row(self, film: str, beside: str) -> tuple[bool, float, str, str]:
        """Sort key of a film in a list, and what its line says."""
        row = self._similar[film]
        score = row.get(beside) if beside else max(row.values(), default=None)
        return score is None, -(score or 0.0), self.title(film), film

    def _listed(self, title: str, film: str, score: float, none: bool, beside: str) -> str:
        name = listed_name(title, film)
        if none:
            return f"{name} · " + ("not a similar pair" if beside else "no similar film")
        return f"{name} · " + (f"similarity {score:.3g}" if beside else f"best similarity {score:.3g}")

    def scores(self, encoder: str, film_a: str, film_b: str) -> PairScores:
        """B and the picks of a film pair under an encoder; computed once, the last few pairs stay.

        Raises:
            M2SError: unknown encoder or film, the same film twice, a film shorter than a scene.
        """
        if encoder not in self.views:
            raise M2SError(f"there is no encoder {encoder!r}; there are {', '.join(map(repr, self.views))}")
        for film in (film_a, film_b):
            if film not in self.stores:
                raise M2SError(f"film {film!r} is not among the {len(self.stores)} films of the explorer")
            if (shots := self.stores[film].n_shots) < self.n_shots:
                raise M2SError(
                    f"{self.title(film)} ({film}) has {shots} shots, fewer than a scene of {self.n_shots}: "
                    "there is nothing to compare; choose another film"
                )
        if film_a == film_b:
            raise M2SError(f"{self.title(film_a)} was chosen twice: choose two different films")
        key = (encoder, film_a, film_b)
        if key not in self._scores:
            self._scores[key] = self._compute(encoder, film_a, film_b)
            while len(self._scores) > _KEPT:
                self._scores.popitem(last=False)
        self._scores.move_to_end(key)
        return self._scores[key]

    def _compute(self, encoder: str, film_a: str, film_b: str) -> PairScores:
        """Asked for with the lower id first, as mining does, so that ties fall alike."""
        turned = film_a > film_b
        b, picks = self.views[encoder](*((film_b, film_a) if turned else (film_a, film_b)))
        if turned:
            b, picks = (
                np.ascontiguousarray(b.T),
                picks.rename(columns={"shot_a": "shot_b", "shot_b": "shot_a"}),
            )
        columns = ["shot_a", "shot_b", "score", "rank", "kept"]
        return PairScores(b, picks[columns].reset_index(drop=True), float(b.min()), float(b.max()))

    def facts(self, encoder: str, film_a: str, film_b: str, i: int, j: int) -> CellFacts:
        """What the numbers say of the scene of A from shot i and the scene of B from shot j."""
        scores = self.scores(encoder, film_a, film_b)
        score, n, picks = scores.b[i, j], self.n_shots, scores.picks
        rows, columns = (np.abs(picks[c].to_numpy() - at) for c, at in (("shot_a", i), ("shot_b", j)))
        own = np.flatnonzero((rows == 0) & (columns == 0))
        near = np.flatnonzero((rows < n) | (columns < n))  # picks are in the order of their ranks
        rank = int(own[0]) + 1 if len(own) else 0
        kept = bool(picks["kept"].to_numpy()[own[0]]) if rank else False
        overlaps = int(near[0]) + 1 if len(near) and not rank else 0
        share = float(np.count_nonzero(scores.b < score)) / scores.b.size
        low = bool(score < picks.loc[picks["kept"], "score"].min()) if scores.n_kept else False
        return CellFacts(float(score), scores.b.size, share, rank, kept, overlaps, low)
