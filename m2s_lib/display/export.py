"""Scenes for other programs: a CSV table, a timeline, or a folder of clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from m2s_lib.display.clip_folder import write_clips
from m2s_lib.display.timelines import Cut, timeline_text
from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path

# ending of the file -> its name
KINDS = {"csv": "CSV", "edl": "EDL", "otio": "OTIO", "fcpxml": "FCPXML", "clips": "clips"}


def write_export(
    path: Path,
    table: pd.DataFrame,
    cuts: Sequence[Cut],
    title: str,
    timecodes: Mapping[str, str] | None = None,
) -> Path:
    """Write scenes as the kind of file that the ending of `path` names, atomically; returns the path.

    Clips go into a folder, "tray clips" for tray.clips.

    Args:
        path: ends in one of `KINDS`. table: what a CSV holds. cuts: the clips of a timeline, in order.
        title: of the timeline.
        timecodes: film_id -> timecode of the file's first frame, "HH:MM:SS:FF", where it is another one than
            the cuts have.

    Raises:
        M2SError: nothing to export, or what `timeline_text` and `write_clips` refuse.
    """
    kind = path.suffix[1:]
    if kind not in KINDS:
        raise M2SError(f"{path.name}: choose one of {', '.join(KINDS)}")
    if not len(table):
        raise M2SError("there is no scene to export")
    if kind == "clips":
        return write_clips(path.with_name(f"{path.stem} clips"), cuts)
    with atomic_path(path) as temporary:
        if kind == "csv":
            table.to_csv(temporary, index=False, lineterminator="\n")
        else:
            temporary.write_text(timeline_text(kind, cuts, title, timecodes), encoding="utf-8")
    return path
