"""What the gates look at: pure windows of a world's scenes, keyframes, metadata and correlations."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from m2s_lib.films.similarity.metadata_similarity import (
    cowatch_neighbours,
    genre_neighbours,
    random_pairs,
    synopsis_neighbours,
)
from m2s_lib.films.stories.story import ACTIONS, THEMES, TWINS
from m2s_lib.films.world.files import metadata_table
from m2s_lib.films.world.kinds import kind_of
from m2s_lib.films.world.records import Film, World, WorldSize
from m2s_lib.films.world.viewers import watch_log
from m2s_lib.parallel import cores

LENGTH = 9  # shots of a window
PAIRS_PER_FILM = 1.5  # to which every source of metadata is cut
SIDE = 64  # px of a keyframe


@dataclass(frozen=True)
class Windows:
    """Windows of nine shots that lie in one scene each: the first and the last nine of every scene.

    Attributes:
        world: whose. first: int [windows], number of the first shot, counted over all films.
        film, scene, theme: int [windows]. held_out: bool [windows], of films that nothing is trained on.
    """

    world: World
    first: np.ndarray
    film: np.ndarray
    scene: np.ndarray
    theme: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, world: World) -> "Windows":
        rows, at = [], 0
        for film in world.films:
            for number, scene in enumerate(film.scenes):
                n = len(scene.shots)
                for first in sorted({0, n - LENGTH} if n >= LENGTH else ()):
                    rows.append((at + first, film.number, number, scene.theme, film.split != "train"))
                at += n
        first, film, scene, theme, held_out = np.array(rows).T
        return cls(world, first, film, scene, theme, held_out.astype(bool))

    def shots(self) -> np.ndarray:
        """Numbers of the shots of each window: int [windows, 9]."""
        return self.first[:, None] + np.arange(LENGTH)

    def mean(self, of_shots: np.ndarray) -> np.ndarray:
        """Mean over each window's shots: [shots, D] to [windows, D]."""
        return of_shots[self.shots()].mean(1)

    def actions(self) -> np.ndarray:
        """How many shots show each action, by thirds of the window: float64 [windows, 3, actions]."""
        kinds = np.array([shot.kind for film in self.world.films for _, shot in film.shots])[self.shots()]
        shown = kinds[..., None] == np.array(ACTIONS)  # [windows, 9, actions]
        return shown.reshape(len(kinds), 3, LENGTH // 3, len(ACTIONS)).sum(2).astype(float)

    def facts(self) -> np.ndarray:
        """Place, relationship, director and writer of each window, one number of ones and zeros each."""
        films = self.world.films
        rows = [
            (films[f].scenes[s].place, films[f].scenes[s].relationship, films[f].director, films[f].writer)
            for f, s in zip(self.film, self.scene, strict=True)
        ]
        return pd.get_dummies(pd.DataFrame(rows).astype(str)).to_numpy(float)

    def majority(self) -> float:
        """Share of held-out windows with the theme that is commonest in training."""
        return float((self.theme[self.held_out] == np.bincount(self.theme[~self.held_out]).argmax()).mean())

    def probe(self, vectors: np.ndarray) -> float:
        """Accuracy of a ridge probe of themes on held-out films, its strength chosen on training films."""
        from sklearn.linear_model import RidgeClassifier
        from sklearn.model_selection import GridSearchCV, GroupKFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        train, groups = ~self.held_out, self.film[~self.held_out]
        strengths = {"ridgeclassifier__alpha": 10.0 ** np.arange(0, 6)}
        model = GridSearchCV(make_pipeline(StandardScaler(), RidgeClassifier()), strengths, cv=GroupKFold(4))
        model.fit(vectors[train], self.theme[train], groups=groups)
        return float(model.score(vectors[self.held_out], self.theme[self.held_out]))

    def neighbours(self, vectors: np.ndarray) -> float:
        """P@1 of themes: held-out queries, a gallery of training films, cosine."""
        return float((self._nearest(vectors) == self.theme[self.held_out]).mean())

    def twins(self, vectors: np.ndarray) -> float:
        """Share of held-out queries of twins whose nearest neighbour among both twins is their own.

        Not a number in a world without twins.
        """
        if self.world.config.themes != THEMES:
            return float("nan")
        right = []
        for pair in TWINS:
            themes = [THEMES.index(name) for name in pair]
            part = np.isin(self.theme, themes)
            of = Windows(
                *(getattr(self, f)[part] if f != "world" else self.world for f in self.__annotations__)
            )
            right += list(of._nearest(vectors[part]) == of.theme[of.held_out])
        return float(np.mean(right))

    def _nearest(self, vectors: np.ndarray) -> np.ndarray:
        flat = vectors.reshape(len(vectors), -1).astype(np.float64)
        flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
        order = (flat[self.held_out] @ flat[~self.held_out].T).argmax(1)
        return self.theme[~self.held_out][order]


def keyframes(world: World) -> np.ndarray:
    """The middle frame of every shot as stage 01 keeps it, drawn here: uint8 [shots, 64, 64, 3]."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(min(cores(), 8), multiprocessing.get_context("spawn")) as pool:
        draw = partial(middle_frames, world.config, size=SIDE)
        return np.concatenate(list(pool.map(draw, world.films, chunksize=4)))


def middle_frames(config: WorldSize, film: Film, size: int) -> np.ndarray:
    """The middle frame of every shot of a film, drawn whole: uint8 [shots, size, size, 3]."""
    from PIL import Image

    draw, how = kind_of(config).draw_keyframe, ((size, size), Image.Resampling.BICUBIC)
    pictures = [
        draw(config, film, i, j) for i, scene in enumerate(film.scenes) for j in range(len(scene.shots))
    ]
    return np.stack([np.asarray(Image.fromarray(picture).resize(*how)) for picture in pictures])


def film_pairs(world: World) -> dict[str, pd.DataFrame]:
    """Similar pairs of the films for training by source of metadata: film_a, film_b, every source equally many."""
    films = metadata_table(world)
    films = films[films["split"] == "train"].reset_index(drop=True)
    log = pd.DataFrame(watch_log(world), columns=["user", "number", "time"])
    log["film_id"] = [world.films[i].film_id for i in log["number"]]
    sources = {
        "cowatch": cowatch_neighbours(log, films, 3, "symmetric", 5, 10.0),
        "synopsis": synopsis_neighbours(films, 3),
        "genre": genre_neighbours(films, 3),
        "random": random_pairs(films, 3),
    }
    keep = round(PAIRS_PER_FILM * len(films))
    for name, pairs in sources.items():
        ranked = pairs.sample(frac=1, random_state=0).sort_values(["score"], ascending=False, kind="stable")
        if name in ("genre", "random"):
            ranked = ranked.sample(frac=1, random_state=1)
        sources[name] = ranked[["film_a", "film_b"]].head(keep).reset_index(drop=True)
    return sources


def metadata_shares(world: World) -> dict[str, float]:
    """Share of similar film pairs with a theme in common, by source, and of all film pairs ('chance')."""
    themes = {f.film_id: np.asarray(f.themes) > 0 for f in world.films}
    shares = {
        name: float(np.mean([(themes[a] & themes[b]).any() for a, b in pairs.to_numpy()]))
        for name, pairs in film_pairs(world).items()
    }
    member = np.stack([themes[f.film_id] for f in world.films if f.split == "train"]).astype(int)
    shared = member @ member.T > 0
    return shares | {"chance": float(shared[~np.eye(len(shared), dtype=bool)].mean())}


def correlations(world: World) -> dict[str, float]:
    """Cramer's V, corrected for chance, of what goes with themes, over the scenes of all films."""
    rows = [
        (s.theme, s.place, s.relationship, s.speaking, s.moderation, f.director, f.writer, f.genre)
        for f in world.films for s in f.scenes
    ]  # fmt: skip
    names = ["theme", "place", "relationship", "speaking", "moderation", "director", "writer", "genre"]
    table = pd.DataFrame(rows, columns=names)
    return {name: cramers_v(pd.crosstab(table["theme"], table[name]).to_numpy()) for name in names[1:]}


def cramers_v(counts: np.ndarray) -> float:
    """Cramer's V of a table of counts with Bergsma's correction (2013), 0 where chance explains it."""
    from scipy.stats import chi2_contingency

    n, (r, k) = counts.sum(), counts.shape
    phi = chi2_contingency(counts, correction=False)[0] / n
    phi = max(phi - (r - 1) * (k - 1) / (n - 1), 0)
    return float(np.sqrt(phi / (min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1)))
