"""The retrieval gallery without a screen: what each click, key and choice makes of its state.

Every function takes the collection (see `gallery_data`) and a state, and returns a new state; what goes wrong
becomes `state.error`, never an exception, except in `open_state`, whose caller wrote the names.
"""

import os
from dataclasses import replace
from pathlib import Path

from m2s_lib.display.filmstrips import check_scene
from m2s_lib.display.gallery.data import (
    PAGE,
    GalleryState,
    Query,
    film_scenes,
    query_folder,
    query_of,
    results,
    scene_near,
    store_of,
    title_of,
)
from m2s_lib.display.screen_state import handler, play
from m2s_lib.errors import M2SError
from m2s_lib.films.store.stretch import range_store
from m2s_lib.io import read_json

MOST = 50  # results of a query
QUERY = "query.json"  # what the explorer of 03 hands over, in the run directory
KEYS = ("ArrowLeft", "ArrowRight", *"123456789", "b", " ")
_PAST = 50  # queries that the way back remembers


def open_state(
    collection,
    film_id: str = "",
    shot: int = 0,
    *,
    encoder: str = "",
    second: str = "",
    k: int = 5,
    own_film: bool = False,
) -> GalleryState:
    """The state that the gallery begins with.

    Args:
        film_id, shot: the scene of that film nearest to the shot; '' takes the middle one of all scenes.
        encoder: one of `collection.encoders`, '' the first. second: another one beside it, '' none.
        k: results, 1 to MOST. own_film: whether the query's own film may be found.

    Raises:
        M2SError: a film without scenes, an unknown encoder, or k out of range.
    """
    if not film_id:
        middle = collection.scenes.iloc[len(collection.scenes) // 2]
        film_id, shot = str(middle["film_id"]), int(middle["shot"])
    encoder = encoder or collection.encoders[0]
    for name in filter(None, (encoder, second)):
        if name not in collection.encoders:
            raise M2SError(f"there is no encoder {name!r}; there are {', '.join(collection.encoders)}")
    if not 1 <= k <= MOST:
        raise M2SError(f"k is {k}, expected 1 to {MOST} results")
    return GalleryState(scene_near(collection, film_id, shot), encoder, second, k, own_film=own_film)


@handler
def ask_film(collection, state: GalleryState, film_id: str) -> GalleryState:
    """The first scene of a film."""
    return _ask(collection, state, scene_near(collection, film_id, 0))


@handler
def ask_scene(collection, state: GalleryState, film_id: str, shot: int) -> GalleryState:
    """A scene of the collection: one that was found, or one of the film's other scenes."""
    return _ask(collection, state, scene_near(collection, film_id, int(shot)))


@handler
def step_scene(collection, state: GalleryState, by: int) -> GalleryState:
    """The next (by=1) or previous (by=-1) scene of the query's film."""
    query = state.query
    if query.file:
        raise M2SError(f"{Path(query.file).name} is not one of the collection's films: give another stretch")
    shots = film_scenes(collection, query.film_id)["shot"].to_numpy()
    later = shots[shots > query.shot] if by > 0 else shots[shots < query.shot][::-1]
    if not len(later):
        end = "last" if by > 0 else "first"
        raise M2SError(f"this is the {end} scene of {title_of(collection, query.film_id)}")
    return _ask(collection, state, scene_near(collection, query.film_id, int(later[0])))


@handler
def ask_result(collection, state: GalleryState, number: int) -> GalleryState:
    """The result of this number (from 1) in the first column."""
    table = results(collection, state)
    if not 1 <= number <= len(table):
        raise M2SError(f"there is no result {number}: {len(table)} were found")
    return _ask(collection, state, query_of(table.iloc[number - 1]))


@handler
def back(collection, state: GalleryState) -> GalleryState:
    """The query before this one."""
    if not state.past:
        raise M2SError("this is the first query: there is nothing to go back to")
    return replace(state, query=state.past[-1], past=state.past[:-1], playing=(), viewed=(), shown=PAGE)


@handler
def take_explorers_scene(collection, state: GalleryState) -> GalleryState:
    """The scene that the explorer of notebook 03 handed over in run_dir/query.json."""
    path = Path(collection.run_dir) / QUERY
    if not path.is_file():
        raise M2SError(f'no scene was handed over yet: press "use as query" in notebook 03 ({path})')
    content = read_json(path)
    try:
        query = Query(str(content["film_id"]), int(content["shot"]), int(content["n_shots"]))
    except (KeyError, TypeError, ValueError) as error:
        raise M2SError(f"{path} names no scene ({error!r}): hand one over again in notebook 03") from error
    store = store_of(collection, query)
    check_scene(store, query.shot, query.n_shots)
    notice = f"the explorer's scene: {title_of(collection, query.film_id)}, shot {query.shot}"
    return replace(_ask(collection, state, query), notice=notice)


@handler
def ask_clip(
    collection,
    state: GalleryState,
    path: str,
    start_s: float,
    end_s: float,
    *,
    root: str | os.PathLike = "",
    folders: tuple = (),
) -> GalleryState:
    """A stretch of any video file: its shots are found, and the middle ones are the query.

    As for the benchmarks' clips, a stretch with fewer shots than a scene is one shorter scene.

    Args:
        path: of the file, relative ones seen from `root`. start_s, end_s: seconds as a player shows them.
        folders: where the file has to lie; () anywhere.
    """
    if not path.strip():
        raise M2SError("which file? Give the path of a video and the seconds from which to which")
    file = Path(root, Path(path.strip()).expanduser())
    inside = [f for f in folders if file.resolve().is_relative_to(Path(f).resolve())]
    if folders and not inside:
        raise M2SError(
            f"{file.name}: on this page a file has to lie in {', '.join(map(str, folders))}; notebook 08 "
            "takes any file"
        )
    if not file.is_file():
        raise M2SError(f"{file.name}: there is no such file ({file})")
    n = int(collection.scenes["n_shots"].iat[0])
    store = range_store(file, float(start_s), float(end_s), query_folder(collection), collection.scan)
    count = min(n, store.n_shots)
    query = Query(store.film_id, (store.n_shots - count) // 2, count, str(file), str(store.path))
    many = "shots" if store.n_shots > 1 else "shot"
    notice = f"{file.name}: {store.n_shots} {many} found from {start_s:g} to {end_s:g} s"
    if store.n_shots > n:
        notice += f"; the middle {n} are the query"
    elif store.n_shots < n:
        notice += f", fewer than a scene of {n}: it is asked for as a scene of {count}"
    return replace(_ask(collection, state, query), notice=notice)


@handler
def choose_encoder(collection, state: GalleryState, encoder: str) -> GalleryState:
    """Another encoder in the first column."""
    second = "" if state.second == encoder else state.second
    return _tried(collection, replace(state, encoder=encoder, second=second, playing=()))


@handler
def choose_second(collection, state: GalleryState, second: str) -> GalleryState:
    """An encoder beside the first, '' for none."""
    if second == state.encoder:
        raise M2SError(f"{second} is the first encoder already: choose another one to compare with")
    return _tried(collection, replace(state, second=second, playing=()))


@handler
def choose(collection, state: GalleryState, **choices) -> GalleryState:
    """Filters and the number of results: k, `FILTERS`, own_film, one_per_film."""
    if "k" in choices:
        choices["k"] = min(max(int(choices["k"]), 1), MOST)
    return replace(state, playing=(), viewed=(), shown=PAGE, **choices)


@handler
def ask_text(collection, state: GalleryState, text: str) -> GalleryState:
    """Scenes whose pictures are nearest to some words; '' asks for the scene again."""
    return _tried(collection, replace(state, text=text.strip(), playing=(), viewed=(), shown=PAGE))


@handler
def more(collection, state: GalleryState) -> GalleryState:
    """Draw the next PAGE results."""
    return replace(state, shown=min(state.shown + PAGE, MOST))


def press(collection, state: GalleryState, key: str) -> GalleryState:
    """Left and right: another scene of the film; 1 to 9: that result is the query; b: back; space plays."""
    if key in ("ArrowLeft", "ArrowRight"):
        return step_scene(collection, state, 1 if key == "ArrowRight" else -1)
    if key in "123456789":
        return ask_result(collection, state, int(key))
    if key == "b":
        return back(collection, state)
    return play(collection, state, state.query.scene) if key == " " else state


def _ask(collection, state: GalleryState, query: Query) -> GalleryState:
    """Another query, the present one remembered."""
    if query == state.query and not state.text:
        return state
    past = (*state.past, state.query)[-_PAST:]
    new = {"query": query, "past": past, "text": ""}
    return _tried(collection, replace(state, **new, playing=(), viewed=(), shown=PAGE))


def _tried(collection, state: GalleryState) -> GalleryState:
    """The state, once its columns are filled: M2SError where an encoder cannot encode the scene."""
    for encoder in filter(None, (state.encoder, state.second)):
        results(collection, state, encoder)
    return state
