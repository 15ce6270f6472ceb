"""What the retrieval gallery shows: a state, and what it finds in a collection of scenes.

A collection is what `m2s_lib.stages.screens.read_collection` gives, or anything with its attributes:
run_dir, scenes (table film_id, shot, n_shots, start_s, end_s and, where known, words and `LABELS`), titles
and media (by film_id), stores, encoders, scan, nearest(...), nearest_words(...) and labels(...).
"""

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.display.screen_state import Films, SceneKey, ScreenState
from m2s_lib.display.text import listed_name, timecode
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

PAGE = 5  # results drawn at once in a column: what nobody looks at is not decoded
LISTED = 200  # films in a list at most; a search narrows it
LABELS = ("theme", "place", "genre", "year")  # columns of scenes that can be filtered, where they are known
FILTERS = ("title", "said", *LABELS)  # what has to hold of a result, '' anything


@dataclass(frozen=True)
class Query:
    """The scene that is asked for."""

    film_id: str  # of a film of the collection; of another file, the name of its store
    shot: int
    n_shots: int
    file: str = ""  # another video file that the scene comes from
    store: str = ""  # where the shots of that file lie

    @property
    def scene(self) -> SceneKey:
        """Its scene."""
        return SceneKey(self.film_id, self.shot, self.n_shots)


@dataclass(frozen=True)
class GalleryState(ScreenState):
    """What is on the screen."""

    query: Query
    encoder: str
    second: str = ""  # encoder of the second column, '' for none
    k: int = 5  # results of each encoder
    title: str = ""  # only films whose title or id holds these words
    theme: str = ""  # only scenes with this theme, '' any
    place: str = ""  # only scenes at this place, '' any
    genre: str = ""  # only films of this genre, '' any
    year: str = ""  # only films of this year, '' any
    said: str = ""  # only scenes whose subtitles hold this text, '' any
    own_film: bool = False  # whether the query's own film may be found
    one_per_film: bool = False  # whether only the nearest scene of each film is shown
    text: str = ""  # words that are asked for in the place of the query, where an encoder knows words
    shown: int = PAGE  # of them drawn
    past: tuple[Query, ...] = ()  # earlier queries, the last one last

    @property
    def with_own_film(self) -> bool:
        """Whether the query's own film is searched; for what is said always, wherever it is said."""
        return self.own_film or bool(self.said.strip())


def results(collection, state: GalleryState, encoder: str = "") -> pd.DataFrame:
    """What an encoder finds, nearest first: the scenes' columns, row (of the collection) and distance."""
    query = state.query
    keep = passing(collection, state)
    if state.text:
        find = partial(collection.nearest_words, state.text, keep=keep)
    else:
        scene = (store_of(collection, query), query.shot, query.n_shots)
        how = {"keep": keep, "own_film": state.with_own_film}
        find = partial(collection.nearest, encoder or state.encoder, *scene, **how)
    films = collection.scenes["film_id"].to_numpy()
    distance, rows = _one_per_film(find, films, state.k) if state.one_per_film else find(state.k)
    return collection.scenes.iloc[rows].assign(row=rows, distance=distance).reset_index(drop=True)


def _one_per_film(find: Callable, films: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows of the nearest scene of each of the k nearest films."""
    asked = 4 * k
    while True:
        distance, rows = find(asked)
        first = ~pd.Series(films[rows]).duplicated().to_numpy()
        if first.sum() >= k or len(rows) < asked:
            return distance[first][:k], rows[first][:k]
        asked *= 4


def passing(collection, state: GalleryState) -> np.ndarray | None:
    """Scenes that pass the filters: bool [N], None for all."""
    chosen = tuple((name, getattr(state, name)) for name in FILTERS if getattr(state, name).strip())
    return _passing(collection, chosen, "" if state.with_own_film else state.query.file)


@lru_cache(maxsize=8)
def _passing(collection, chosen: tuple[tuple[str, str], ...], file: str) -> np.ndarray | None:
    """Scenes that pass `chosen` (name of a filter, value) and are not of a film that is this file."""
    scenes, films, keep = collection.scenes, collection.scenes["film_id"], None
    tests = {"title": _titled, "said": _said}
    conditions = [tests.get(name, partial(_labelled, name=name))(collection, value) for name, value in chosen]
    if file:  # a file that is one of the films is that film
        same = {f for f, path in collection.media.items() if _same_file(path, file)}
        conditions += [~films.isin(same)] if same else []
    for condition in conditions:
        found = condition.reindex(scenes.index).to_numpy(bool)
        keep = found if keep is None else keep & found
    return keep


def _titled(collection, value: str) -> pd.Series:
    words, films = value.casefold().split(), collection.scenes["film_id"]
    names = {f: f"{title_of(collection, f)} {f}".casefold() for f in films.unique()}
    return films.map({f: all(w in name for w in words) for f, name in names.items()})


def _said(collection, value: str) -> pd.Series:
    """Scenes in whose subtitles the text stands, upper and lower case alike."""
    words = collection.scenes.get("words", pd.Series("", collection.scenes.index))
    return words.str.casefold().str.contains(" ".join(value.casefold().split()), regex=False)


def _labelled(collection, value: str, name: str) -> pd.Series:
    """Scenes with this label; a cell 'Drama|Comedy' has two. A label that is not known keeps all."""
    if name not in collection.scenes:
        return pd.Series(True, collection.scenes.index)
    cells = collection.scenes[name]
    return cells.map({cell: value in str(cell).split("|") for cell in cells.unique()})


def _same_file(one: str, other: str) -> bool:
    return Path(one).name == Path(other).name and Path(one).resolve() == Path(other).resolve()


def films_of(collection, query: Query) -> Films:
    """The collection's films, and the other file that a query comes from."""
    stores, titles, files = collection.stores, collection.titles, collection.media
    if query.store:
        stores = ChainMap({query.film_id: ShotStore(query.store)}, stores)
        titles = ChainMap({query.film_id: Path(query.file).name}, titles)
        files = ChainMap({query.film_id: query.file}, files)
    return Films(stores, titles, files, collection.run_dir)


def store_of(collection, query: Query) -> ShotStore:
    """The shots that a query's scene belongs to; M2SError for a film that is not in the collection."""
    return films_of(collection, query).store(query.film_id)


def title_of(collection, film_id: str) -> str:
    """A film's title, its id where it has none."""
    return collection.titles.get(film_id, "").strip() or str(film_id)


def query_title(collection, query: Query) -> str:
    """The film's title, or the other file's name."""
    return Path(query.file).name if query.file else title_of(collection, query.film_id)


def film_scenes(collection, film_id: str) -> pd.DataFrame:
    """The scenes of a film, in order."""
    scenes = collection.scenes
    return scenes[scenes["film_id"] == film_id].sort_values("shot")


def list_films(collection, search: str = "", always: str = "") -> list[tuple[str, str]]:
    """(words, film_id) of films that have scenes and whose title or id holds all words, by title; at most
    LISTED. The film `always` is in the list whatever is searched, first where it would be left out."""
    words, rows = search.casefold().split(), []
    films = [str(film) for film in collection.scenes["film_id"].unique()]
    for film in films:
        title = title_of(collection, film)
        if all(w in f"{title} {film}".casefold() for w in words):
            rows.append((title, film))
    rows = sorted(rows)[:LISTED]
    if always in films and always not in (film for _, film in rows):
        rows = [(title_of(collection, always), always), *rows][:LISTED]
    return [(listed_name(title, film), film) for title, film in rows]


def list_scenes(collection, film_id: str) -> list[tuple[str, int]]:
    """(when, first shot) of a film's scenes."""
    rows = film_scenes(collection, film_id)
    pairs = zip(rows["shot"], rows["start_s"], strict=True)
    return [(timecode(s).removeprefix("0:") or f"shot {shot}", int(shot)) for shot, s in pairs]


def list_labels(collection, column: str) -> list[str]:
    """The values of a label, sorted; [] where it is not known."""
    cells = pd.unique(collection.scenes[column]) if column in collection.scenes else ()
    return sorted({value for cell in cells for value in str(cell).split("|") if value})


def has_subtitles(collection) -> bool:
    """Whether the subtitles of any film are known."""
    return bool("words" in collection.scenes and (collection.scenes["words"] != "").any())


def query_folder(collection) -> Path:
    """Where the shots of other files are kept: in the run, in no stage's folder."""
    return Path(collection.run_dir) / ".cache" / "queries"


def scene_near(collection, film_id: str, shot: int) -> Query:
    """The film's scene that begins nearest to a shot; M2SError for a film without scenes."""
    own = film_scenes(collection, film_id)
    if own.empty:
        known = ", ".join(sorted(collection.scenes["film_id"].unique())[:5])
        raise M2SError(f"film {film_id!r} has no scene here; films that have: {known}, …")
    return query_of(own.loc[(own["shot"] - shot).abs().idxmin()])


def query_of(row) -> Query:
    """A row of scenes as a query."""
    return Query(str(row["film_id"]), int(row["shot"]), int(row["n_shots"]))
