"""The explorer's pieces of HTML: functions from data and state to text, for `live_parts.Panel`."""

from m2s_lib.display.explorer.data import CellFacts, ScenePairs
from m2s_lib.display.explorer.state import ExplorerState, call_text, chosen
from m2s_lib.display.live_parts import (
    button_html,
    clip_html,
    code_html,
    error_strip,
    filmstrip_html,
    notice_strip,
)
from m2s_lib.display.playback import LONGEST_S, Clip
from m2s_lib.display.style import escape_html

BUTTONS = (  # act, words, what the button says when pointed at
    ("previous", "◀ previous pair", "the next better marked scene pair; key p"),
    ("next", "next pair ▶", "the next best marked scene pair; key n"),
    ("play", "play both scenes", "clips cut from the films; space bar"),
    ("call", "copy call", "the library call that draws this view"),
    ("csv", "pair list as CSV", "the marked scene pairs as a table, in the run directory"),
    ("edl", "pair list as EDL", "the marked scene pairs as a timeline for editors, in the run directory"),
)  # fmt: skip
HINT = "keys: arrows move (Shift: a whole scene), n and p step through the pairs, Home, End, space plays"


def rank_words(facts: CellFacts) -> str:
    """Where a cell stands in the choice, in words."""
    if facts.rank:
        return f"scene pair #{facts.rank}" + ("" if facts.kept else ", selected but not kept by mining")
    if facts.overlaps:
        return f"not selected: shares shots with #{facts.overlaps}"
    return "not selected"


def facts_words(facts: CellFacts) -> list[str]:
    """Score, rank and place of a cell, a line each."""
    place = f"place {facts.place:,} of {facts.windows:,} windows"
    if facts.place == 1:
        return [f"score {facts.score:.4g}", rank_words(facts), place]
    digits = 1 if facts.share < 0.999 else 3
    return [f"score {facts.score:.4g}", rank_words(facts), place, f"higher than {facts.share:.{digits}%}"]


def facts_html(scenes: ScenePairs, state: ExplorerState, encoder: str) -> str:
    """The chosen cell under one encoder, in words beside its heat map."""
    facts = scenes.facts(encoder, state.film_a, state.film_b, state.shot_a, state.shot_b)
    score, *rest = facts_words(facts)
    lines = "".join(f"<div>{escape_html(words)}</div>" for words in rest)
    cell = f"A from shot {state.shot_a}, B from shot {state.shot_b}"
    return f'<div><b class="m2s-score">{score}</b></div>{lines}<div class="m2s-note">{cell}</div>'


def messages_html(state: ExplorerState) -> str:
    """The strips for what went wrong and what was done; '' without either."""
    return error_strip(state.error) + notice_strip(state.notice)


def strips_html(scenes: ScenePairs, state: ExplorerState) -> str:
    """The buttons, both scenes side by side, the call when it was asked for."""
    sides = "".join(_strip(scenes, state, side) for side in "ab")
    buttons = "".join(button_html(act, "", words, hint=hint) for act, words, hint in BUTTONS)
    bar = f'<div class="m2s-bar">{buttons}<span class="m2s-note">{HINT}</span></div>'
    parts = [bar, f'<div class="m2s-row">{sides}</div>']
    if state.shows_call:
        parts.append(code_html(call_text(state)))
    return "".join(parts)


def _strip(scenes: ScenePairs, state: ExplorerState, side: str) -> str:
    film, shot = chosen(state, side)
    button = ("query", side, "use as query")
    title = f"{side.upper()}: {scenes.title(film)}"
    return filmstrip_html(scenes.stores[film], shot, scenes.n_shots, title, actions=[button])


def second_html(scenes: ScenePairs, state: ExplorerState) -> str:
    """What the second encoder would put beside the scene of B, and beside the scene of A; '' without one."""
    if not state.second:
        return ""
    scores = scenes.scores(state.second, state.film_a, state.film_b)
    i, j = int(scores.b[:, state.shot_b].argmax()), int(scores.b[state.shot_a].argmax())
    if (i, j) == (state.shot_a, state.shot_b):
        return f'<p class="m2s-note">{escape_html(state.second)} finds the same best partners.</p>'
    parts = []
    for side, film, shot, score in (
        ("A", state.film_a, i, scores.b[i, state.shot_b]),
        ("B", state.film_b, j, scores.b[state.shot_a, j]),
    ):
        other = "B" if side == "A" else "A"
        words = f"{state.second} puts this beside the scene of {other}, score {score:.4g}"
        title = f"{side}: {scenes.title(film)}"
        parts.append(filmstrip_html(scenes.stores[film], shot, scenes.n_shots, title, caption=words))
    return f'<div class="m2s-row">{"".join(parts)}</div>'


def player_html(scenes: ScenePairs, state: ExplorerState, side: str, clip: Clip | str | None = None) -> str:
    """One side's player.

    Args:
        clip: what plays, or the words that stand there instead; None while it is being cut.
    """
    film, shot = chosen(state, side)
    name = f"{side.upper()}: {scenes.title(film)}, from shot {shot}"
    if isinstance(clip, Clip):
        note = f"first {LONGEST_S:.0f} s" if clip.shortened else f"{clip.seconds:.0f} s"
        return clip_html(clip.path.name, f"{name}, {note}")
    words = f"{name}: cutting the clip …" if clip is None else clip
    return f'<p class="m2s-note" role="status">{escape_html(words)}</p>'
