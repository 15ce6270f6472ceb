"""The embedded films as a user's films: one call renders them and their labels, where no other films are
given."""

import os
from collections.abc import Mapping
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.films.world.records import WorldSize

EMBEDDED = "embedded"


def embedded_or_own(
    films_dir: str | os.PathLike,
    metadata: str | os.PathLike,
    folder: str | os.PathLike,
    config: WorldSize,
    kind: str = "shapes",
) -> tuple[Path, Path | str]:
    """Folder of films and metadata table: the user's, or for 'embedded' those rendered into `folder`.

    Files that are there already and belong to the same world are kept.

    Args:
        config: size of the embedded world. kind: which one, 'shapes' or 'stories' (`kinds`).

    Raises:
        M2SError: no films are given, or the kind is unknown.
    """
    from m2s_lib.films.world.files import render_world
    from m2s_lib.films.world.kinds import of_kind, plan_world
    from m2s_lib.films.world.labels import write_labels

    if films_dir != EMBEDDED:
        if not films_dir:
            raise M2SError(
                "which films? Give a folder, for example: m2s run films -p 01.films_dir=path/to/films"
            )
        return Path(films_dir), metadata
    world = plan_world(of_kind(kind, config))
    render_world(world, folder)
    write_labels(world, folder)
    return Path(folder) / "films", metadata or Path(folder) / "metadata.csv"


def embedded_part(value: str | os.PathLike, folder: str | os.PathLike, part: str) -> str | os.PathLike:
    """'embedded' as the path of a part of the embedded films, '' for films of one's own; other values as
    they are."""
    if value != EMBEDDED:
        return value
    place = Path(folder) / part
    return str(place) if place.exists() else ""


def true_shot_themes(folder: str | os.PathLike, stores: Mapping[str, object]) -> dict[str, list[str]]:
    """True theme of every detected shot, film_id -> [n_shots]; {} for films that are not the embedded
    ones."""
    from m2s_lib.films.world.files import true_labels

    truth = Path(folder) / "truth"
    if not stores or not all((truth / f"{film}.parquet").is_file() for film in stores):
        return {}
    return {
        film: true_labels(folder, film, store.shots["start_frame"], store.shots["end_frame"], "theme")
        for film, store in stores.items()
    }
