"""Scenes as a folder of clips: one MP4 file each, and scenes.csv, which says what each of them is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from m2s_lib.display.playback import write_clip
from m2s_lib.display.timelines import Cut, check_times
from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path, safe_name
from m2s_lib.progress import progress

MOST = 200  # clips of a folder
MAX_SIDE = 1920  # pixels of a clip's longer side; smaller films keep their size


def write_clips(folder: Path, cuts: Sequence[Cut]) -> Path:
    """Cut scenes from their films, in the film's size and without sound; returns the folder.

    A clip that is there already and newer than its film stays, so an interrupted export goes on.

    Raises:
        M2SError: more than MOST scenes, a scene without times, a film without a file, or one that cannot be
            read there; clips that were cut before stay.
    """
    if len(cuts) > MOST:
        raise M2SError(f"a folder of clips holds {MOST} scenes at most, not {len(cuts)}: export fewer")
    for cut in cuts:
        if not cut.path:
            raise M2SError(
                f"film {cut.film_id} came without a video file: no clip can be cut, export the CSV"
            )
        check_times(cut)
    films = {(cut.title, cut.film_id) for cut in cuts}
    shared = {title for title, n in Counter(title for title, _ in films).items() if n > 1}
    rows = []
    for cut in progress(cuts, "cutting clips", unit="clips"):
        target, film = folder / _file_name(cut, cut.title in shared), Path(cut.path)
        if not (target.is_file() and film.is_file() and target.stat().st_mtime > film.stat().st_mtime):
            write_clip(film, cut.start_s, cut.end_s, target, MAX_SIDE)
        rows.append({"clip": target.name, **asdict(cut)})
    with atomic_path(folder / "scenes.csv") as temporary:
        pd.DataFrame(rows).drop(columns="path").to_csv(temporary, index=False, lineterminator="\n")
    return folder


def _file_name(cut: Cut, shared: bool) -> str:
    """Film and times, such as 'Sintel 00.01.05.250 to 00.01.12.000.mp4': the same scene has the same name.

    Where films share a title, they go by their ids.
    """
    title = safe_name(cut.film_id[:60] if shared or not cut.title else cut.title[:60])
    return f"{title} {_clock(cut.start_s)} to {_clock(cut.end_s)}.mp4"


def _clock(seconds: float) -> str:
    whole, ms = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}.{whole // 60 % 60:02d}.{whole % 60:02d}.{ms:03d}"
