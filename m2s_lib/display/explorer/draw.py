"""The explorer's pieces of HTML: functions from data and state to text, for `Panel`."""

from m2s_lib.display.explorer.data import CellFacts, ScenePairs
from m2s_lib.display.explorer.state import ExplorerState, call_text, chosen
from m2s_lib.display.filmstrips import poster_shot
from m2s_lib.display.scene_html import (
    button_html,
    chip_html,
    code_html,
    export_buttons,
    filmstrip_html,
    picture_html,
    shot_time,
)
from m2s_lib.display.screen import Players
from m2s_lib.display.text import escape_html
from m2s_lib.words import encoder_words, nearness_words

BUTTONS = (  # act, words, what the button says when pointed at
    ("previous", "◀ previous pair", "the next better marked scene pair; key p"),
    ("next", "next pair ▶", "the next best marked scene pair; key n"),
    ("play", "▶ play both", "clips cut from the films; space bar"),
    ("call", "library call", "the call that draws this view"),
)
HINT = (
    "keys: arrows move (Shift: a scene), n and p step through the pairs, Home, End, e switches, space plays"
)
_CARDS, _CARD_PX, _OTHER_PX = 24, 72, 72  # cards of pairs, heights of their pictures and of the second choice


def rank_words(facts: CellFacts) -> str:
    """Where a cell stands in the choice, in words."""
    if facts.rank:
        return f"scene pair #{facts.rank}" + ("" if facts.kept else ", selected but not kept by mining")
    if facts.overlaps and not facts.low:
        return f"not a scene pair: its shots belong to #{facts.overlaps}"
    return "not a scene pair: those that mining keeps are nearer"


def facts_words(facts: CellFacts) -> list[str]:
    """How near the scenes of a cell are, and whether they are a scene pair."""
    return [f"similarity: {nearness_words(facts.share, facts.windows, 'pairs')}", rank_words(facts)]


def pair_html(scenes: ScenePairs, state: ExplorerState, players: Players) -> str:
    """The chosen pair: what each encoder says, the buttons, both filmstrips with their players."""
    facts = "".join(_facts(scenes, state, encoder) for encoder in (state.encoder, state.second) if encoder)
    shown = [button for button in BUTTONS if button[0] != "call" or not players.visitors]
    buttons = "".join(button_html(act, "", words, hint=hint) for act, words, hint in shown)
    buttons += export_buttons("the marked scene pairs")
    sides = "".join(_side(scenes, state, players, side) for side in "ab")
    call = code_html(call_text(state)) if state.shows_call else ""
    return (
        f'<div class="m2s-facts" aria-live="polite">{facts}</div><div class="m2s-bar">{buttons}</div>'
        f'{call}<div class="m2s-together">{sides}</div><p class="m2s-note">{HINT}</p>'
    )


def _facts(scenes: ScenePairs, state: ExplorerState, encoder: str) -> str:
    facts = scenes.facts(encoder, state.film_a, state.film_b, state.shot_a, state.shot_b)
    near, rank = facts_words(facts)
    name = f"<b>{escape_html(encoder_words(encoder))}</b>"
    score = chip_html(near, f"score {facts.score:.4g}", "m2s-score")
    return f'<div class="m2s-bar">{name}{score}<span class="m2s-note">{rank}</span></div>'


def _side(scenes: ScenePairs, state: ExplorerState, players: Players, side: str) -> str:
    scene = chosen(scenes, state)[side == "b"]
    title = f"{side.upper()}: {scenes.title(scene.film_id)}"
    actions = [("query", side, players.like), *players.star(scene)]
    strip = filmstrip_html(scenes.stores[scene.film_id], scene.shot, scene.n, title, actions=actions)
    return f'<div data-plays="1">{strip}{players.html(scene)}</div>'


def cards_html(scenes: ScenePairs, state: ExplorerState) -> str:
    """The best marked pairs as cards to step through, and what the second encoder chooses."""
    scores = scenes.scores(state.encoder, state.film_a, state.film_b)
    cards = "".join(
        _card(scenes, state, row, scores.b.size)
        for row in scores.picks.head(min(state.marked, _CARDS)).itertuples()
    )
    more = f"the best {_CARDS} of {state.marked}" if state.marked > _CARDS else f"all {state.marked}"
    head = f'<p class="m2s-note">marked scene pairs, {more}</p>' if cards else ""
    return f'{head}<div class="m2s-cards">{cards}</div>{second_html(scenes, state)}'


def _card(scenes: ScenePairs, state: ExplorerState, row, windows: int) -> str:
    parts = []
    for film, shot in ((state.film_a, int(row.shot_a)), (state.film_b, int(row.shot_b))):
        store, title = scenes.stores[film], scenes.title(film)
        at = shot_time(store, shot)
        picture = picture_html(store, poster_shot(store, shot, scenes.n_shots), f"{title} at {at}", _CARD_PX)
        parts.append(f"<span>{picture}<small>{at}</small></span>")
    here = (row.shot_a, row.shot_b) == (state.shot_a, state.shot_b)
    current = ' aria-current="true"' if here else ""
    return (
        f'<button type="button" class="m2s-button m2s-card" data-act="pair" data-value="{row.rank - 1}"'
        f'{current} title="score {row.score:.4g}"><b>#{row.rank}</b>{"".join(parts)}</button>'
    )


def second_html(scenes: ScenePairs, state: ExplorerState) -> str:
    """What the second encoder would put beside the scene of B, and beside the scene of A; '' without one."""
    if not state.second:
        return ""
    b, name = scenes.scores(state.second, state.film_a, state.film_b).b, encoder_words(state.second)
    i, j = int(b[:, state.shot_b].argmax()), int(b[state.shot_a].argmax())
    if (i, j) == (state.shot_a, state.shot_b):
        return f'<p class="m2s-note">{escape_html(name)} finds the same best partners.</p>'
    parts = [
        f'<p class="m2s-note">{escape_html(name)} puts this beside the scene of {other}:</p>'
        + filmstrip_html(
            scenes.stores[film], shot, scenes.n_shots, f"{side}: {scenes.title(film)}", height_px=_OTHER_PX
        )
        for side, other, film, shot in (("A", "B", state.film_a, i), ("B", "A", state.film_b, j))
    ]
    return f'<div class="m2s-halves"><div>{parts[0]}</div><div>{parts[1]}</div></div>'
