"""Subtitles: what is said in a shot, from a file beside the film or from a text track in it.

A file beside it is `film.srt` or `film.vtt`, or `film.en.srt` with a language; of several the first by name
counts. A text track is read once, when the film is scanned, and kept in its store.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.films.video.av_frames import CONTAINERS

ENDINGS = (".srt", ".vtt")
COLUMNS = ["film_id", "start_s", "end_s", "text"]


def read_subtitle_file(path: str | os.PathLike) -> pd.DataFrame:
    """Lines of a .srt or .vtt file: start_s, end_s (float, seconds), text without markup, in order of time.

    Text is UTF-8, or else Windows-1252, as many old files are.

    Raises M2SError for a file that has no subtitle.
    """
    import pysubs2

    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    try:
        events = pysubs2.SSAFile.from_string(text)
    except (pysubs2.Pysubs2Error, ValueError) as error:
        raise M2SError(f"{path} cannot be read as subtitles ({error}): expected .srt or .vtt") from error
    rows = [(e.start / 1000, e.end / 1000, _plain(e.plaintext)) for e in events if not e.is_comment]
    return _table(rows, path)


def _table(rows: list[tuple[float, float, str]], path: str | os.PathLike) -> pd.DataFrame:
    rows = [row for row in rows if row[2]]
    if not rows:
        raise M2SError(f"{path} has no subtitle: expected numbered lines with times")
    return pd.DataFrame(rows, columns=COLUMNS[1:]).sort_values("start_s", kind="stable", ignore_index=True)


def _plain(text: str) -> str:
    return " ".join(text.split())


def text_track(path: str | os.PathLike) -> str:
    """The first text track of a video file as JSON, [[start_s, end_s, text], ...]; '' without one.

    Pictures of text (DVD, Blu-ray) are not read.
    """
    import av
    import pysubs2

    lines = []
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        with av.open(str(path), options=options, metadata_errors="replace") as container:
            tracks = [s for s in container.streams.subtitles if s.codec_context.name in _TEXT]
            for packet in container.demux(tracks[0]) if tracks else ():
                if packet.size and packet.pts is not None:
                    start = float(packet.pts * packet.time_base)
                    end = start + float((packet.duration or 0) * packet.time_base)
                    parts = [s.dialogue for s in packet.decode() if hasattr(s, "dialogue")]
                    event = pysubs2.SSAEvent(text=b" ".join(parts).decode("utf-8", "replace"))
                    lines.append((start, end, _plain(event.plaintext)))
    except (av.FFmpegError, OSError, ValueError):
        return ""  # the pictures count; a broken track is none
    return json.dumps([line for line in lines if line[2]]) if lines else ""


_TEXT = ("srt", "subrip", "mov_text", "ass", "ssa", "webvtt", "text")


def subtitle_table(films: Mapping[str, str | os.PathLike], stores: Mapping[str, ShotStore]) -> pd.DataFrame:
    """The subtitles of all films: film_id, start_s, end_s, text; no row for a film without any.

    Args:
        films: film_id to video file. stores: film_id to store, for the text tracks.

    Raises M2SError, naming the file, for one beside a film that cannot be read.
    """
    tables = []
    for film_id, path in films.items():
        if beside := _beside(Path(path)):
            table = read_subtitle_file(beside)
        elif film_id in stores and (track := stores[film_id].metadata.get("subtitles")):
            table = pd.DataFrame(json.loads(track), columns=COLUMNS[1:])
        else:
            continue
        tables.append(table.assign(film_id=film_id)[COLUMNS])
    empty = pd.DataFrame({c: pd.Series(dtype="float64" if c.endswith("_s") else "object") for c in COLUMNS})
    return pd.concat(tables, ignore_index=True) if tables else empty


def _beside(film: Path) -> Path | None:
    """The subtitle file of a film, if there is one."""
    if not film.parent.is_dir():
        return None
    names = [p for p in sorted(film.parent.iterdir()) if p.suffix.lower() in ENDINGS]
    return next((p for p in names if p.stem == film.stem or p.name.startswith(f"{film.stem}.")), None)


def words_between(subtitles: pd.DataFrame, start_s: float, end_s: float) -> str:
    """What one film's subtitles say between two times: the lines whose middle lies there."""
    middle = (subtitles["start_s"] + subtitles["end_s"]) / 2
    return " ".join(subtitles["text"][(middle >= start_s) & (middle < end_s)])
