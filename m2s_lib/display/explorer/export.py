"""The marked scene pairs for other programs: a table, and the clips of a timeline, scene of A then of B."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from m2s_lib.display.explorer.data import ScenePairs
from m2s_lib.display.explorer.state import ExplorerState
from m2s_lib.display.export import write_export
from m2s_lib.display.scene_html import shots_words
from m2s_lib.display.timelines import Cut
from m2s_lib.errors import M2SError
from m2s_lib.io import safe_name


def pairs_table(scenes: ScenePairs, state: ExplorerState) -> pd.DataFrame:
    """The marked scene pairs of the state, best first.

    Returns:
        encoder, rank, score, kept, and for A and B film, title, shot (first), start_s, end_s; n_shots.

    Raises:
        M2SError: nothing is marked.
    """
    picks = scenes.scores(state.encoder, state.film_a, state.film_b).picks.head(state.marked)
    if not len(picks):
        raise M2SError("no scene pair is marked, there is nothing to export: move the slider up")
    table = picks[["rank", "score", "kept"]].copy()
    table.insert(0, "encoder", state.encoder)
    for side, film in (("a", state.film_a), ("b", state.film_b)):
        shots, first = scenes.stores[film].shots, picks[f"shot_{side}"].to_numpy()
        table[f"film_{side}"], table[f"title_{side}"] = film, scenes.title(film)
        table[f"shot_{side}"] = first
        table[f"start_s_{side}"] = shots["start_s"].to_numpy()[first]
        table[f"end_s_{side}"] = shots["end_s"].to_numpy()[first + scenes.n_shots - 1]
    return table.assign(n_shots=scenes.n_shots).reset_index(drop=True)


def pair_cuts(scenes: ScenePairs, table: pd.DataFrame) -> list[Cut]:
    """The rows of `pairs_table` as clips, two each."""
    return [
        Cut(
            film_id=film,
            title=row[f"title_{side}"],
            path=scenes.library.files.get(film, ""),
            fps=float(scenes.stores[film].fps),
            start_s=row[f"start_s_{side}"],
            end_s=row[f"end_s_{side}"],
            name=f"pair {row['rank']} {side.upper()}",
            score=row["score"],
            timecode=scenes.stores[film].metadata.get("timecode", ""),
            note=f"{shots_words(row[f'shot_{side}'], row['n_shots'])}, by {row['encoder']}",
        )
        for row in table.to_dict("records")
        for side, film in (("a", row["film_a"]), ("b", row["film_b"]))
    ]


def export_path(scenes: ScenePairs, state: ExplorerState, kind: str) -> Path:
    """Where an export goes: run_dir/exports/<films, encoder>.<kind>."""
    name = safe_name(f"{state.film_a[:60]}-{state.film_b[:60]}-{state.encoder[:60]}".replace(",", ""))
    return Path(scenes.run_dir) / "exports" / f"{name}.{kind}"


def export_pairs(
    scenes: ScenePairs, state: ExplorerState, kind: str, timecodes: Mapping[str, str] | None = None
) -> Path:
    """Write the marked pairs as one of `export.KINDS`; returns the path.

    Args:
        timecodes, errors: as `write_export`.
    """
    table = pairs_table(scenes, state)
    title = f"scene pairs of {state.film_a} and {state.film_b}"
    return write_export(export_path(scenes, state, kind), table, pair_cuts(scenes, table), title, timecodes)
