"""Scenes as HTML: filmstrips, buttons, messages, players, the same for both screens.

Text from metadata is escaped here and nowhere else: pass it raw.
"""

import base64
import io
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from m2s_lib.display.export import KINDS
from m2s_lib.display.filmstrips import check_scene, proportions, shown_frames, start_times, timecode_range
from m2s_lib.display.playback import Clip
from m2s_lib.display.text import NO_PICTURES, escape_html, timecode
from m2s_lib.films.store.shot_store import ShotStore

STRIP_PX = 120  # height of a keyframe in a filmstrip
_KEPT = 4096  # thumbnails kept as text, about 3 KB each
_SHARP = 2  # stored pixels for one on the screen, at most
_thumbnails: OrderedDict[tuple, bytes] = OrderedDict()


def thumbnail(store: ShotStore, shot: int, height_px: int = STRIP_PX) -> bytes:
    """A picture of one shot as a JPEG; b'' for a film without pixels.

    The preview where the store has one, else the keyframe as stored (square; the page gives it the film's
    proportions), smaller where it is large, kept for the next time.
    """
    from PIL import Image

    if not store.has_pixels:
        return b""
    if store.has_previews:
        return store.preview(int(shot))
    key = (str(store.path), store.metadata.get("pixels_crc32"), int(shot), height_px)
    if key not in _thumbnails:
        frame = np.ascontiguousarray(shown_frames(store.scene(int(shot), 1))[0])
        picture, out, most = Image.fromarray(frame), io.BytesIO(), _SHARP * height_px
        if max(picture.size) > most:
            picture = picture.resize((most, most), Image.Resampling.BILINEAR)
        picture.save(out, "JPEG", quality=80)
        _thumbnails[key] = out.getvalue()
        while len(_thumbnails) > _KEPT:
            _thumbnails.popitem(last=False)
    return _thumbnails[key]


def shot_time(store: ShotStore, shot: int) -> str:
    """When a shot begins, 'm:ss' or 'h:mm:ss'; 'shot 3' where that is unknown."""
    at = timecode(start_times(store)[shot]).removeprefix("0:")
    return at or f"shot {shot}"


def shots_words(start: int, n: int) -> str:
    """'shot 3' or 'shots 3-11'."""
    return f"shot {start}" if n == 1 else f"shots {start}-{start + n - 1}"


def picture_html(store: ShotStore, shot: int, alt: str, height_px: int = STRIP_PX, style: str = "") -> str:
    """The keyframe of a shot in the film's proportions, a dash in their place for a film without pixels."""
    size = style or f"width:{max(1, round(height_px * proportions(store)))}px;height:{height_px}px"
    data = thumbnail(store, shot, height_px)
    if not data:
        return f'<span class="m2s-blank" style="{size}" role="img" aria-label="{NO_PICTURES}">–</span>'
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return f'<img src="{uri}" alt="{escape_html(alt)}" style="{size}">'


def filmstrip_html(
    store: ShotStore,
    start: int,
    n: int,
    title: str,
    *,
    actions: Sequence[tuple[str, str, str]] = (),
    height_px: int = STRIP_PX,
    live: bool = True,
) -> str:
    """Shots start .. start + n - 1 as a figure: title, when it plays, one row of keyframes that scrolls.

    Args:
        store: the film. start: first shot, from 0. n: shots in the scene.
        title: of the film, any text; alt texts are made with it.
        actions: buttons in the head, (act, value, words); a `Panel` reports act and value.
        height_px: height of a keyframe on the screen.
        live: whether a click on a shot shows it over the page.

    Raises:
        M2SError: shots outside the film.
    """
    check_scene(store, start, n)
    when, which = timecode_range(store, start, n), shots_words(start, n)
    where = when if when == which else f"{when}, {which}"
    words = f"{title}, {where}" + ("" if store.has_pixels else f"; {NO_PICTURES}")
    head = f'<b class="m2s-title">{escape_html(title)}</b> <span class="m2s-note">{escape_html(where)}</span>'
    head += "".join(button_html(*action) for action in actions)
    shots = "".join(_shot_html(store, start + k, title, height_px, live) for k in range(n))
    return (
        f'<figure class="m2s-strip" data-film="{escape_html(store.film_id)}" data-shot="{start}" '
        f'aria-label="{escape_html(words)}"><figcaption>{head}</figcaption>'
        f'<div class="m2s-shots" tabindex="-1">{shots}</div></figure>'
    )


def _shot_html(store: ShotStore, shot: int, title: str, height_px: int, live: bool) -> str:
    at, start = shot_time(store, shot), start_times(store)[shot]
    alt = f"{title}, shot {shot}" + ("" if at.startswith("shot") else f" at {at}")
    inside = f"{picture_html(store, shot, alt, height_px)}<small>{at}</small>"
    about = f'class="m2s-shot" data-at="{start:.3f}"'
    if not live:
        return f"<span {about}>{inside}</span>"
    value = escape_html(f"{store.film_id}:{shot}")
    return f'<button type="button" {about} data-act="view" data-value="{value}">{inside}</button>'


def button_html(act: str, value: str, words: str, *, enabled: bool = True, hint: str = "") -> str:
    """A button that a `Panel` reports as (act, value)."""
    off = "" if enabled else " disabled"
    tip = f' title="{escape_html(hint)}"' if hint else ""
    return (
        f'<button type="button" class="m2s-button" data-act="{escape_html(act)}" '
        f'data-value="{escape_html(value)}"{tip}{off}>{escape_html(words)}</button>'
    )


def export_buttons(what: str) -> str:
    """A button for each kind of file in which `what` can leave."""
    hint = f"{what} as {{}}, in the folder exports"
    return "".join(button_html(kind, "", name, hint=hint.format(name)) for kind, name in KINDS.items())


def chip_html(words: str, hint: str = "", kind: str = "") -> str:
    """A few words in a frame."""
    tip = f' title="{escape_html(hint)}"' if hint else ""
    return f'<span class="m2s-chip {kind}"{tip}>{escape_html(words)}</span>'


def messages_html(error: str, notice: str) -> str:
    """Strips for what went wrong and for what was done, each with a button to close it; '' without either."""
    strips = (("m2s-error", "alert", "✖", error), ("m2s-notice", "status", "✔", notice))
    return "".join(
        f'<div class="{kind}" role="{role}"><span aria-hidden="true">{mark}</span> '
        f"<span>{escape_html(message)}</span>{button_html('dismiss', '', 'close')}</div>"
        for kind, role, mark, message in strips
        if message
    )


def code_html(code: str, words: str = "copy") -> str:
    """Code with a button that copies it to the clipboard, in the browser alone."""
    return (
        f'<div class="m2s-code"><pre tabindex="0" aria-label="code">{escape_html(code)}</pre>'
        f'<button type="button" class="m2s-button" data-copy="1">{escape_html(words)}</button></div>'
    )


def clip_html(clip: Clip | str | None, label: str, value: str, start_s: float = 0.0) -> str:
    """A player that `Panel.send_clip` fills, or the words that stand in its place; with a button to close it.

    Args:
        clip: what plays, the words instead, or None while it is being cut.
        label: what it shows. value: of the button, which is reported as ("play", value).
        start_s: when the clip begins in its film, so that the shot that plays is marked.
    """
    close = button_html("play", value, "close", hint="close the player")
    if not isinstance(clip, Clip):
        words = f"{label}: cutting the clip …" if clip is None else clip
        return f'<div class="m2s-clip m2s-bar" role="status"><span>{escape_html(words)}</span>{close}</div>'
    name, label = escape_html(clip.path.name), escape_html(f"{label}, {clip.length}")
    return (
        f'<figure class="m2s-clip"><video data-clip="{name}" data-from="{start_s:.3f}" aria-label="{label}" '
        f"controls muted playsinline loop></video><figcaption>{label}{close}</figcaption></figure>"
    )
