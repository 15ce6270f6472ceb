"""Scenes as timelines for editing programs: EDL, OTIO and FCPXML, written by OpenTimelineIO.

A timeline puts the scenes one after another on one video track that begins at 01:00:00:00; each clip has a
marker with its score and note. Sources count from the timecode that their file begins with, 00:00:00:00
where it is not given.

- OTIO and FCPXML keep each film's own rate, exactly (24000/1001, not 23.976).
- An EDL counts frames, non-drop, at one rate: that of the first film, or where no editor knows it (4 or 8
  frames a second) the lowest usual multiple. A film with another rate is written in seconds at that rate, and
  a comment says so.
"""

import contextlib
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from m2s_lib.errors import M2SError

RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)  # that editors know
_SAME = 3e-4  # relative; 23.976 and 24 differ by 1e-3
_MOST = 999  # events of an EDL: their numbers have three digits
_BEGIN_S = 3600  # timelines begin at one hour by custom


@dataclass(frozen=True)
class Cut:
    """One scene on a timeline.

    Attributes:
        film_id, title: of its film. path: of the film's file. fps: its frames a second.
        start_s, end_s: seconds from the film's first frame.
        name: of the clip. score: of the marker. note: more words for it.
        timecode: of the file's first frame, '' for 00:00:00:00.
    """

    film_id: str
    title: str
    path: str
    fps: float
    start_s: float
    end_s: float
    name: str
    score: float
    note: str = ""
    timecode: str = ""


def timeline_text(
    kind: str, cuts: Sequence[Cut], title: str, timecodes: Mapping[str, str] | None = None
) -> str:
    """The text of a timeline, for `kind` "edl", "otio" or "fcpxml"; arguments: `write_export`.

    Raises M2SError: a film without frame rate, scenes without times, too many for an EDL.
    """
    from opentimelineio import adapters

    _check(cuts)
    timecodes = {c.film_id: c.timecode for c in cuts} | dict(timecodes or {})
    if kind == "edl":
        return _edl(cuts, title, timecodes)
    timeline = _timeline(cuts, title, {c.film_id: exact_rate(c.fps) for c in cuts}, timecodes)
    if kind == "otio":
        return adapters.write_to_string(timeline, "otio_json")
    for clip in timeline.tracks[0]:  # the adapter looks assets up by names in single quotes
        clip.name = clip.name.replace("'", "’")
    with _frame_durations({exact_rate(c.fps) for c in cuts}):
        return _with_notes(adapters.write_to_string(timeline, "fcpx_xml"), [c.note for c in cuts])


def _check(cuts: Sequence[Cut]) -> None:
    for cut in cuts:
        if not (math.isfinite(cut.fps) and cut.fps > 0):
            raise M2SError(
                f"film {cut.film_id} has no frame rate, so its timecodes are unknown: export the CSV instead"
            )
        check_times(cut)


def check_times(cut: Cut) -> None:
    """M2SError for a scene without times."""
    if not (math.isfinite(cut.start_s) and math.isfinite(cut.end_s)):
        raise M2SError(f"film {cut.film_id}: {cut.name} has no time, export the CSV instead")


def _timeline(cuts: Sequence[Cut], title: str, rates: Mapping[str, float], timecodes: Mapping[str, str]):
    """An otio Timeline; `rates` says how many frames a second each film counts."""
    from opentimelineio import schema
    from opentimelineio.opentime import RationalTime

    rate = rates[cuts[0].film_id]
    timeline = schema.Timeline(_line(title), global_start_time=RationalTime(_BEGIN_S * round(rate), rate))
    track = schema.Track("V1", kind=schema.TrackKind.Video)
    timeline.tracks.append(track)
    ends = {c.film_id: max(o.end_s for o in cuts if o.film_id == c.film_id) for c in cuts}
    for cut in cuts:
        start = start_frame(timecodes.get(cut.film_id, ""), rates[cut.film_id])
        track.append(_clip(cut, rates[cut.film_id], start, ends[cut.film_id]))
    return timeline


def _clip(cut: Cut, rate: float, begins: int, known_s: float):
    """One clip; `begins` is the number of its file's first frame, `known_s` how long the file is at least."""
    from opentimelineio import schema
    from opentimelineio.opentime import RationalTime, TimeRange

    first, last = round(cut.start_s * rate), round(cut.end_s * rate)
    span = TimeRange(RationalTime(begins + first, rate), RationalTime(max(last - first, 1), rate))
    whole = TimeRange(RationalTime(begins, rate), RationalTime(round(known_s * rate) + 1, rate))
    file = Path(cut.path or cut.film_id)
    source = schema.ExternalReference(file.as_uri() if file.is_absolute() else quote(file.name), whole)
    source.name = _line(cut.title)
    marker = schema.Marker(
        f"{_line(cut.name)}, score {cut.score:.4g}", TimeRange(span.start_time, RationalTime(1, rate)), "BLUE"
    )
    marker.comment = _line(cut.note)
    marker.metadata["m2s"] = {"score": float(cut.score), "note": marker.comment, "film_id": cut.film_id}
    clip = schema.Clip(f"{_line(cut.name)}: {_line(cut.title)}", source, span)
    clip.markers.append(marker)
    return clip


def start_frame(timecode: str, rate: float) -> int:
    """The number of the frame that a timecode names, 0 for ''; ';' before the frames means drop-frame.

    >>> start_frame("01:00:00:10", 25.0), start_frame("00:01:00;02", 30000 / 1001)
    (90010, 1800)
    """
    if not timecode:
        return 0
    parts = timecode.replace(";", ":").split(":")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        raise M2SError(f"{timecode!r} is no timecode: write HH:MM:SS:FF, such as 01:00:00:00")
    hours, minutes, seconds, frames = map(int, parts)
    count = (hours * 3600 + minutes * 60 + seconds) * round(rate) + frames
    minutes += 60 * hours
    return count - (round(rate) // 15) * (minutes - minutes // 10) if ";" in timecode else count


def exact_rate(fps: float) -> float:
    """`fps`, or the rate that editors know where it is one of them but for rounding (23.976)."""
    return next((rate for rate in RATES if abs(rate / fps - 1) < _SAME), float(fps))


def edit_rate(fps: float) -> float:
    """The rate editors know that fits `fps`: itself, else the lowest multiple of it, else the next higher.

    >>> edit_rate(8.0), edit_rate(12.5), edit_rate(18.0)
    (24.0, 25.0, 24.0)
    """
    if (same := exact_rate(fps)) in RATES:
        return same
    for rate in RATES:
        times = rate / fps
        if times > 1 and abs(times / max(round(times), 1) - 1) < _SAME:
            return rate
    return next((rate for rate in RATES if rate >= fps), RATES[-1])


# -- what the adapters leave to be done --


def _edl(cuts: Sequence[Cut], title: str, timecodes: Mapping[str, str]) -> str:
    """CMX 3600: ASCII, reels of eight characters, one rate in whole frames."""
    from opentimelineio import adapters, schema
    from opentimelineio.opentime import RationalTime, TimeRange

    if len(cuts) > _MOST:
        raise M2SError(f"an EDL holds {_MOST} scenes at most, not {len(cuts)}: export fewer")
    own = {c.film_id: edit_rate(c.fps) for c in cuts}
    rate = own[cuts[0].film_id]
    base = round(rate)  # 30 for 29.97: an EDL counts frames
    counted = {film: r if round(r) == base else rate for film, r in own.items()}
    timeline, reels = _timeline(cuts, _ascii(title), counted, timecodes), _reels(list(own))
    for clip, cut in zip(timeline.tracks[0], cuts, strict=True):
        begin, length = clip.source_range.start_time.value, clip.source_range.duration.value
        clip.source_range = TimeRange(RationalTime(begin, base), RationalTime(length, base))
        clip.markers[0].marked_range = TimeRange(RationalTime(begin, base), RationalTime(1, base))
        clip.name, clip.markers[0].name = _ascii(clip.name), _ascii(clip.markers[0].name)
        notes = [f"FROM FILE: {_ascii(Path(cut.path or cut.film_id).name)}", f"COMMENT: {_ascii(cut.note)}"]
        clip.metadata["cmx_3600"] = {"reel": reels[cut.film_id], "comments": notes}
    hour = schema.Gap(source_range=TimeRange(RationalTime(0, base), RationalTime(_BEGIN_S * base, base)))
    timeline.tracks[0].insert(0, hour)
    head, _, rest = adapters.write_to_string(timeline, "cmx_3600", rate=base).partition("\n")
    about = [head, "FCM: NON-DROP FRAME", "", f"* {rate:.6g} FRAMES PER SECOND"]
    about += [
        f"* {_ascii(c.film_id)} HAS {c.fps:.6g} FRAMES PER SECOND: ITS TIMES ARE SECONDS"
        for c in {c.film_id: c for c in cuts}.values()
        if counted[c.film_id] != own[c.film_id]
    ]
    return "\n".join([*about, rest.lstrip("\n")])


def _reels(films: Sequence[str]) -> dict[str, str]:
    """Reel names: at most eight letters and digits, different for every film."""
    names = {f: "".join(ch for ch in _ascii(f).upper() if ch.isalnum())[:8] or "FILM" for f in films}
    taken = list(names.values())
    return {f: n if taken.count(n) == 1 else f"{n[:4]}{i:04d}" for i, (f, n) in enumerate(names.items(), 1)}


@contextlib.contextmanager
def _frame_durations(rates: set[float]) -> Iterator[None]:
    """The adapter writes an empty frame duration for a rate that its table lacks: the table with them all."""
    from opentimelineio import adapters

    fcpx_xml = adapters.from_name("fcpx_xml").module()
    before = fcpx_xml.FRAMERATE_FRAMEDURATION
    lengths = {rate: 1 / Fraction(rate).limit_denominator(1001) for rate in rates}
    fcpx_xml.FRAMERATE_FRAMEDURATION = {r: f"{d.numerator}/{d.denominator}s" for r, d in lengths.items()}
    try:
        yield
    finally:
        fcpx_xml.FRAMERATE_FRAMEDURATION = before


def _with_notes(text: str, notes: Sequence[str]) -> str:
    """FCPXML with the start of the sequence and the notes of the markers, which the adapter leaves out."""
    root = ElementTree.fromstring(text)
    root.find(".//sequence").set("tcStart", f"{_BEGIN_S}s")
    for marker, note in zip(root.iter("marker"), notes, strict=True):
        marker.set("note", _line(note))
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def _line(text: object) -> str:
    return "".join(ch for ch in " ".join(str(text).split()) if ch.isprintable())


def _ascii(text: object) -> str:
    """One line that every editor reads: accents go, what has no ASCII letter becomes '?'."""
    plain = unicodedata.normalize("NFKD", _line(text))
    plain = "".join(ch for ch in plain if not unicodedata.combining(ch))
    return plain.encode("ascii", "replace").decode()
