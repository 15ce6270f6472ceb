"""The list of scene pairs for other programs: a CSV table, and a CMX 3600 edit decision list.

The EDL puts the pairs one after another on one video track, scene of A then scene of B, from 01:00:00:00 on.
Editors (DaVinci Resolve, Premiere, Avid, Kdenlive through OpenTimelineIO) open it and ask for the two files.

- Timecodes are non-drop-frame: they count frames, also at 29.97 and 59.94, so they name the same frames in
  every program; a clock they are not. A file is taken to begin at 00:00:00:00.
- An EDL has one rate: that of film A, or where no editor knows that rate (4 or 8 frames a second) the lowest
  usual one that is a multiple of it. A film B with another rate is written in seconds at that rate, and a
  comment says so.
"""

import math
import os
import unicodedata
from pathlib import Path

import pandas as pd

from m2s_lib.display.explorer.data import ScenePairs
from m2s_lib.display.explorer.state import ExplorerState
from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path, safe_name

RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)  # that editors know
_SAME = 3e-4  # relative; 23.976 and 24 differ by 1e-3
_MOST = 499  # pairs: event numbers have three digits, a pair has two events
_RECORD_START_S = 3600  # timelines begin at one hour by custom


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


def export_path(scenes: ScenePairs, state: ExplorerState, kind: str) -> Path:
    """Where an export goes: run_dir/exports/<films, encoder>.<kind>."""
    name = safe_name(f"{state.film_a[:60]}-{state.film_b[:60]}-{state.encoder[:60]}".replace(",", ""))
    return Path(scenes.run_dir) / "exports" / f"{name}.{kind}"


def export_csv(scenes: ScenePairs, state: ExplorerState) -> Path:
    """Write `pairs_table` as CSV, UTF-8 with a header line; returns the path."""
    table, path = pairs_table(scenes, state), export_path(scenes, state, "csv")
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return path


def export_edl(scenes: ScenePairs, state: ExplorerState) -> Path:
    """Write the marked pairs as an EDL; returns the path. M2SError as `edl_text`."""
    films = {}
    for film in (state.film_a, state.film_b):
        path = str(scenes.films["path"].get(film, ""))
        films[film] = (float(scenes.stores[film].fps), os.path.basename(path) or film)
    text, path = edl_text(pairs_table(scenes, state), films), export_path(scenes, state, "edl")
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="ascii")
    return path


def edl_text(table: pd.DataFrame, films: dict[str, tuple[float, str]]) -> str:
    """A CMX 3600 EDL of scene pairs.

    Args:
        table: as `pairs_table` returns it, of one film pair.
        films: film_id -> (frames a second, name of its file).

    Raises:
        M2SError: a film without frame rate, scenes without times, more than 499 pairs.
    """
    if len(table) > _MOST:
        raise M2SError(
            f"an EDL holds {_MOST} scene pairs at most, {len(table)} are marked: move the slider down"
        )
    film_a, film_b = str(table["film_a"].iloc[0]), str(table["film_b"].iloc[0])
    for film in (film_a, film_b):
        if not (math.isfinite(films[film][0]) and films[film][0] > 0):
            raise M2SError(
                f"film {film} has no frame rate, so its timecodes are unknown: export the CSV instead"
            )
    own = {film: edit_rate(films[film][0]) for film in (film_a, film_b)}
    rate, base = own[film_a], round(own[film_a])
    counted = {film: r if round(r) == base else rate for film, r in own.items()}
    reels = _reels(film_a, film_b)
    lines = [f"TITLE: {_ascii(f'scene pairs of {film_a} and {film_b}')}", "FCM: NON-DROP FRAME", ""]
    lines.append(f"* {rate:.6g} FRAMES PER SECOND, FILES BEGIN AT 00:00:00:00")
    if counted[film_b] != own[film_b]:
        lines.append(
            f"* {_ascii(film_b)} HAS {films[film_b][0]:.6g} FRAMES PER SECOND: ITS TIMES ARE SECONDS"
        )
    record, event = _RECORD_START_S * base, 0
    for row in table.to_dict("records"):
        for side, film in (("a", film_a), ("b", film_b)):
            start, end = (row[f"{end}_s_{side}"] for end in ("start", "end"))
            if not (math.isfinite(start) and math.isfinite(end)):
                raise M2SError(f"film {film}: shot {row[f'shot_{side}']} has no time, export the CSV instead")
            first, last = (round(t * counted[film]) for t in (start, end))
            last, event = max(last, first + 1), event + 1
            times = (first, last, record, record + last - first)
            lines.append(
                f"{event:03d}  {reels[film]:<8} V     C        {' '.join(smpte(t, base) for t in times)}"
            )
            shots = f"{row[f'shot_{side}']}-{row[f'shot_{side}'] + row['n_shots'] - 1}"
            lines.append(f"* FROM CLIP NAME: {_ascii(films[film][1])}")
            lines.append(
                f"* COMMENT: PAIR {row['rank']} {side.upper()}, SCORE {row['score']:.4g}, SHOTS {shots}, "
                f"{_ascii(row[f'title_{side}'])}"
            )
            record += last - first
    return "\n".join(lines) + "\n"


def edit_rate(fps: float) -> float:
    """The rate editors know that fits `fps`: itself, else the lowest multiple of it, else the next higher.

    >>> edit_rate(8.0), edit_rate(12.5), edit_rate(18.0)
    (24.0, 25.0, 24.0)
    """
    for rate in RATES:
        if abs(rate / fps - 1) < _SAME:
            return rate
    for rate in RATES:
        times = rate / fps
        if times > 1 and abs(times / max(round(times), 1) - 1) < _SAME:
            return rate
    return next((rate for rate in RATES if rate >= fps), RATES[-1])


def smpte(frame: int, base: int) -> str:
    """A count of frames as HH:MM:SS:FF, non-drop-frame, `base` frames to the second.

    >>> smpte(90_061, 25)
    '01:00:02:11'
    """
    seconds, frames = divmod(int(frame), base)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def _reels(film_a: str, film_b: str) -> dict[str, str]:
    """Reel names: at most eight letters and digits, different for the two films."""
    names = {
        f: "".join(ch for ch in _ascii(f).upper() if ch.isalnum())[:8] or "FILM" for f in (film_a, film_b)
    }
    if names[film_a] == names[film_b]:
        return {film_a: "A" + names[film_a][:7], film_b: "B" + names[film_b][:7]}
    return names


def _ascii(text: object) -> str:
    """One line that every editor reads: accents go, what has no ASCII letter becomes '?'."""
    plain = unicodedata.normalize("NFKD", " ".join(str(text).split()))
    plain = "".join(ch for ch in plain if not unicodedata.combining(ch))
    return plain.encode("ascii", "replace").decode()
