"""The explorer without a screen: its state, and what each click, key and choice makes of it.

Every function takes the data and a state and returns a new state; errors become `state.error`, never an
exception, except in `open_state`, whose caller wrote the names.
"""

from dataclasses import dataclass, replace

import numpy as np

from m2s_lib.display.explorer.data import PairScores, ScenePairs
from m2s_lib.display.screen_state import SceneKey, ScreenState, handler
from m2s_lib.errors import M2SError
from m2s_lib.io import write_json

ARROWS = {"ArrowUp": (-1, 0), "ArrowDown": (1, 0), "ArrowLeft": (0, -1), "ArrowRight": (0, 1)}
KEYS = (*ARROWS, "n", "p", "Home", "End", "e")  # that change the state; space plays
QUERY = "query.json"


@dataclass(frozen=True)
class ExplorerState(ScreenState):
    """What is on the screen."""

    film_a: str
    film_b: str
    encoder: str
    second: str = ""  # encoder to compare with, '' for none; `switch_encoders` puts it first
    shot_a: int = 0  # first shot of the chosen scene of A: row of B
    shot_b: int = 0  # first shot of the chosen scene of B: column of B
    marked: int = 0  # scene pairs that are marked, the best ones
    shows_call: bool = False


def open_state(
    scenes: ScenePairs,
    film_a: str = "",
    film_b: str = "",
    *,
    encoder: str = "",
    second: str = "",
    shot_a: int | None = None,
    shot_b: int | None = None,
    marked: int | None = None,
) -> ExplorerState:
    """The state that `explore` and `explorer_figure` begin with.

    Args:
        film_a, film_b: the films; '' takes the most similar pair.
        encoder: one of `scenes.views`, '' the first. second: another to compare with, '' for none.
        shot_a, shot_b: first shots of the chosen scenes; None takes the best scene pair.
        marked: how many scene pairs are marked; None marks those that mining keeps.

    Raises:
        M2SError: unknown films or encoders, scenes outside the films.
    """
    if not film_a and not film_b:
        film_a, film_b = scenes.best_pair()
    elif not film_a or not film_b:
        raise M2SError(f"name both films or neither: film_a is {film_a!r}, film_b is {film_b!r}")
    encoder = encoder or next(iter(scenes.views))
    scores = scenes.scores(encoder, film_a, film_b)
    if second:
        scenes.scores(second, film_a, film_b)
    best = scores.picks.iloc[0]
    i = int(best.shot_a) if shot_a is None else int(shot_a)
    j = int(best.shot_b) if shot_b is None else int(shot_b)
    state = ExplorerState(film_a, film_b, encoder, second)
    _check_cell(scenes, state, scores, i, j)
    count = scores.n_kept if marked is None else min(max(int(marked), 0), len(scores.picks))
    return replace(state, shot_a=i, shot_b=j, marked=count)


@handler
def choose_films(scenes: ScenePairs, state: ExplorerState, film_a: str, film_b: str) -> ExplorerState:
    """Another film pair, at its best scene pair."""
    fresh = open_state(scenes, film_a, film_b, encoder=state.encoder, second=state.second)
    return replace(fresh, shows_call=state.shows_call)


@handler
def choose_encoder(scenes: ScenePairs, state: ExplorerState, encoder: str) -> ExplorerState:
    """Another encoder on the same films and the same scenes; it marks what it would keep."""
    scores = scenes.scores(encoder, state.film_a, state.film_b)
    second = "" if state.second == encoder else state.second
    return replace(state, encoder=encoder, second=second, marked=scores.n_kept)


@handler
def choose_second(scenes: ScenePairs, state: ExplorerState, second: str) -> ExplorerState:
    """A second encoder to compare with, '' for none."""
    if second == state.encoder:
        raise M2SError(f"{second} is the first encoder already: choose another one to compare with")
    if second:
        scenes.scores(second, state.film_a, state.film_b)
    return replace(state, second=second)


@handler
def switch_encoders(scenes: ScenePairs, state: ExplorerState) -> ExplorerState:
    """The second encoder on the map in the place of the first, which becomes the second."""
    if not state.second:
        raise M2SError("there is one encoder: choose a second one to compare with")
    return replace(state, encoder=state.second, second=state.encoder)


@handler
def mark(scenes: ScenePairs, state: ExplorerState, count: int) -> ExplorerState:
    """Mark the best `count` scene pairs, as many as there are at most."""
    return replace(state, marked=min(max(int(count), 0), len(_scores(scenes, state).picks)))


@handler
def choose_cell(scenes: ScenePairs, state: ExplorerState, i: int, j: int) -> ExplorerState:
    """The scene of A from shot i and the scene of B from shot j."""
    _check_cell(scenes, state, _scores(scenes, state), i, j)
    return replace(state, shot_a=int(i), shot_b=int(j), playing=())


@handler
def step_pair(scenes: ScenePairs, state: ExplorerState, by: int) -> ExplorerState:
    """To the next (by=1) or previous (by=-1) best marked pair; from a cell that is none, to the best one."""
    picks = _scores(scenes, state).picks.head(state.marked)
    if not len(picks):
        raise M2SError("no scene pair is marked: move the slider up")
    here = picks.index[(picks.shot_a == state.shot_a) & (picks.shot_b == state.shot_b)]
    at = int(here[0]) + by if len(here) else 0
    if not 0 <= at < len(picks):
        end = "the best" if at < 0 else "the last"
        raise M2SError(f"this is {end} of the {len(picks)} marked scene pairs")
    return choose_pair(scenes, state, at)


@handler
def choose_pair(scenes: ScenePairs, state: ExplorerState, at: int) -> ExplorerState:
    """The pair `at` (from 0) of all that the greedy pass selects, best first."""
    row = _scores(scenes, state).picks.iloc[at]
    return choose_cell(scenes, state, int(row.shot_a), int(row.shot_b))


@handler
def press(scenes: ScenePairs, state: ExplorerState, key: str, shift: bool = False) -> ExplorerState:
    """Arrow keys move one shot (with shift one scene), n and p step through the marked pairs, Home and End go
    to the best and the last of them, e switches between two encoders."""
    if key in ARROWS:
        far = scenes.n_shots if shift else 1
        i, j = state.shot_a + far * ARROWS[key][0], state.shot_b + far * ARROWS[key][1]
        return choose_cell(scenes, state, i, j)
    if key in ("n", "p"):
        return step_pair(scenes, state, 1 if key == "n" else -1)
    if key in ("Home", "End") and state.marked:
        return choose_pair(scenes, state, 0 if key == "Home" else state.marked - 1)
    return switch_encoders(scenes, state) if key == "e" else state


@handler
def use_as_query(scenes: ScenePairs, state: ExplorerState, side: str) -> ExplorerState:
    """Hand the chosen scene of film A or B to the gallery: run_dir/query.json."""
    film, shot, _ = chosen(scenes, state)[side == "b"]
    query = {"film_id": film, "shot": shot, "n_shots": scenes.n_shots, "from": "03"}
    try:
        write_json(scenes.run_dir / QUERY, query)
    except OSError as error:
        raise M2SError(f"the query could not be written to {scenes.run_dir / QUERY}: {error}") from error
    return replace(
        state,
        notice=f"The scene of {scenes.title(film)} from shot {shot} is the query now: in "
        '08_retrieval_gallery, press "explorer\'s scene".',
    )


@handler
def toggle_call(scenes: ScenePairs, state: ExplorerState) -> ExplorerState:
    """Show or hide the library call."""
    return replace(state, shows_call=not state.shows_call)


def chosen(scenes: ScenePairs, state: ExplorerState) -> tuple[SceneKey, SceneKey]:
    """The chosen scenes of film A and of film B."""
    a, b = (state.film_a, state.shot_a), (state.film_b, state.shot_b)
    return SceneKey(*a, scenes.n_shots), SceneKey(*b, scenes.n_shots)


def call_text(state: ExplorerState, function: str = "explorer_figure") -> str:
    """The library call that draws this state; with `explore` instead it opens it live."""
    words = [f"shot_a={state.shot_a}, shot_b={state.shot_b}, marked={state.marked}"]
    words.insert(0, f"encoder={state.encoder!r}" + (f", second={state.second!r}" if state.second else ""))
    inside = "".join(f"    {w},\n" for w in (f"scenes, {state.film_a!r}, {state.film_b!r}", *words))
    return f"from m2s_lib.display.explorer.explorer import {function}\n\n{function}(\n{inside})"


def marked_cells(scenes: ScenePairs, state: ExplorerState, encoder: str) -> list[list[int]]:
    """[shot_a, shot_b, rank, both] of the marked pairs of an encoder, each encoder's `state.marked` best;
    both is 1 where the other encoder marks a pair that shares shots with it in both films."""
    columns = ["shot_a", "shot_b", "rank"]
    other = state.second if encoder == state.encoder else state.encoder
    picks = {e: scenes.scores(e, state.film_a, state.film_b).picks for e in (encoder, other) if e}
    cells, *others = (p[columns].head(state.marked).to_numpy().astype(int) for p in picks.values())
    both = np.zeros(len(cells), int)
    if others:
        apart = np.abs(cells[:, None, :2] - others[0][None, :, :2])  # [mine, theirs, films]
        both = (apart < scenes.n_shots).all(axis=2).any(axis=1).astype(int)
    return np.column_stack([cells, both]).tolist()


def _scores(scenes: ScenePairs, state: ExplorerState) -> PairScores:
    return scenes.scores(state.encoder, state.film_a, state.film_b)


def _check_cell(scenes: ScenePairs, state: ExplorerState, scores: PairScores, i: int, j: int) -> None:
    """M2SError for a cell outside B."""
    for film, shot, count in ((state.film_a, i, scores.b.shape[0]), (state.film_b, j, scores.b.shape[1])):
        if not 0 <= shot < count:
            end = "begins with shot 0" if shot < 0 else f"ends with shot {count + scenes.n_shots - 2}"
            raise M2SError(
                f"{scenes.title(film)} {end}: scenes of {scenes.n_shots} shots start at shots "
                f"0 to {count - 1}, not at {shot}"
            )
