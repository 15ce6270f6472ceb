"""What the gallery found, for other programs: the query and its results as a table and as clips."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from m2s_lib.display.export import write_export
from m2s_lib.display.gallery.data import GalleryState, films_of, results, title_of
from m2s_lib.display.scene_html import shots_words
from m2s_lib.display.timelines import Cut
from m2s_lib.errors import M2SError
from m2s_lib.io import safe_name


def results_table(collection, state: GalleryState) -> pd.DataFrame:
    """The results of the first encoder, nearest first: rank, distance, scenes' columns, film's title.

    Raises:
        M2SError: nothing was found.
    """
    table = results(collection, state).drop(columns="row")
    if not len(table):
        raise M2SError("nothing was found, there is nothing to export: change the filters")
    table.insert(0, "rank", range(1, len(table) + 1))
    return table.assign(title=[title_of(collection, f) for f in table["film_id"]], encoder=state.encoder)


def scene_cuts(collection, table: pd.DataFrame) -> list[Cut]:
    """Scenes as clips: film_id, shot, n_shots, start_s, end_s, and where known rank, distance, encoder."""
    return [
        Cut(
            film_id=row["film_id"],
            title=title_of(collection, row["film_id"]),
            path=collection.media.get(row["film_id"], ""),
            fps=float(collection.stores[row["film_id"]].fps),
            start_s=row["start_s"],
            end_s=row["end_s"],
            name=f"scene {row.get('rank', number)}",
            score=float(row.get("distance", 0.0)),
            timecode=collection.stores[row["film_id"]].metadata.get("timecode", ""),
            note=", ".join(
                filter(None, (shots_words(row["shot"], row["n_shots"]), *map(row.get, ("encoder", "note"))))
            ),
        )
        for number, row in enumerate(table.to_dict("records"), start=1)
    ]


def export_results(
    collection, state: GalleryState, kind: str, timecodes: Mapping[str, str] | None = None
) -> Path:
    """Write the results as one of `export.KINDS` into run_dir/exports; returns the path.

    Args:
        timecodes, errors: as `write_export`.
    """
    table, query = results_table(collection, state), state.query
    title = f"scenes like {films_of(collection, query).title(query.film_id)} from shot {query.shot}"
    name = safe_name(f"{query.film_id[:60]}-{query.shot}-{state.encoder[:60]}".replace(",", ""))
    path = Path(collection.run_dir) / "exports" / f"{name}.{kind}"
    return write_export(path, table, scene_cuts(collection, table), title, timecodes)
