"""Parts of the live screens: scenes as HTML, the strip for errors, and a panel that reports clicks and keys.

A screen is a state, functions from state to state, and functions from state to HTML; only `Panel` knows a
browser. Text from metadata is escaped here and nowhere else: pass it raw.
"""

import base64
import functools
import io
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from m2s_lib.display.filmstrips import check_scene, middle_frames, proportions, timecode_range
from m2s_lib.display.style import NO_PICTURES, escape_html, timecode
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

HERE = Path(__file__).parent  # of the script and the style sheet
PANEL_CSS = HERE.joinpath("live_parts.css").read_text("utf-8")
THUMB_PX = 60  # height of a keyframe on the screen
_KEPT = 4096  # thumbnails kept as text, about 3 KB each
_SHARP = 2  # stored pixels for one on the screen, at most
_BATCH = ("M2S_PIPELINE", "PYTEST_VERSION", "PYTEST_CURRENT_TEST")  # set where nobody looks


def headless() -> bool:
    """Whether nobody looks (pipeline, papermill, nbval, nbconvert, plain Python): then no widget is made.

    JupyterLab and Voilà say who they are in the kernel's environment; other front ends are known by letting
    the kernel ask for input, which batch programs do not. M2S_LIVE=1 or 0 overrides the guess.
    """
    said = os.environ.get("M2S_LIVE", "")
    if said in ("0", "1"):
        return said == "0"
    if any(os.environ.get(name) for name in _BATCH):
        return True
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython() if ipython else None, "kernel", None)
    if kernel is None:
        return True
    known = os.environ.get("JPY_SESSION_NAME") or "voila" in os.environ.get("SERVER_SOFTWARE", "").lower()
    return not (known or getattr(kernel, "_allow_stdin", True))


# -- scenes as HTML --


_thumbnails: OrderedDict[tuple, str] = OrderedDict()


def thumbnail_uri(store: ShotStore, shot: int, height_px: int = THUMB_PX) -> str:
    """The keyframe of one shot as a JPEG data URI, kept for the next time; '' for a film without pixels."""
    if not store.has_pixels:
        return ""
    key = (str(store.path), store.metadata.get("pixels_crc32"), int(shot), height_px)
    if key not in _thumbnails:
        _thumbnails[key] = _jpeg_uri(middle_frames(store.scene(int(shot), 1))[0], height_px)
        while len(_thumbnails) > _KEPT:
            _thumbnails.popitem(last=False)
    return _thumbnails[key]


def _jpeg_uri(frame: np.ndarray, height_px: int) -> str:
    """A keyframe as stored (square; the page gives it the film's proportions), smaller where it is large."""
    from PIL import Image

    picture, out = Image.fromarray(np.ascontiguousarray(frame)), io.BytesIO()
    most = _SHARP * height_px
    if max(picture.size) > most:
        picture = picture.resize((most, most), Image.Resampling.BILINEAR)
    picture.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def filmstrip_html(
    store: ShotStore,
    start: int,
    n: int,
    title: str,
    *,
    caption: str = "",
    actions: Sequence[tuple[str, str, str]] = (),
    height_px: int = THUMB_PX,
) -> str:
    """Shots start .. start + n - 1 as a figure: title, when it plays, one keyframe a shot with its timecode.

    Args:
        store: the film. start: first shot, from 0. n: shots in the scene.
        title: of the film, any text; alt texts are made with it.
        caption: more words in the head, such as a distance or a label.
        actions: buttons in the head, (act, value, words); a `Panel` reports act and value.
        height_px: height of a keyframe on the screen.

    Raises:
        M2SError: shots outside the film.
    """
    check_scene(store, start, n)
    when = timecode_range(store, start, n)
    where = when if when.startswith("shot") else f"{when}, " + timecode_range_of_shots(start, n)
    width_px = max(1, round(height_px * proportions(store)))
    times = store.shots["start_s"].to_numpy(dtype=float)[start : start + n]
    pictures = [_shot_html(store, start + k, t, title, width_px, height_px) for k, t in enumerate(times)]
    said = f"{title}, {where}" + ("" if store.has_pixels else f"; {NO_PICTURES}")
    head = f'<b class="m2s-title">{escape_html(title)}</b> <span class="m2s-note">{escape_html(where)}</span>'
    head += f' <span class="m2s-caption">{escape_html(caption)}</span>' if caption else ""
    head += "".join(button_html(*action) for action in actions)
    return (
        f'<figure class="m2s-strip" data-film="{escape_html(store.film_id)}" data-shot="{start}" '
        f'aria-label="{escape_html(said)}"><figcaption>{head}</figcaption>'
        f'<div class="m2s-shots">{"".join(pictures)}</div></figure>'
    )


def timecode_range_of_shots(start: int, n: int) -> str:
    """'shot 3' or 'shots 3-11'."""
    return f"shot {start}" if n == 1 else f"shots {start}-{start + n - 1}"


def _shot_html(store: ShotStore, shot: int, start_s: float, title: str, width_px: int, height_px: int) -> str:
    at = timecode(start_s).removeprefix("0:")
    uri, size = thumbnail_uri(store, shot, height_px), f"width:{width_px}px;height:{height_px}px"
    if uri:
        alt = escape_html(f"{title}, shot {shot}" + (f" at {at}" if at else ""))
        picture = f'<img src="{uri}" alt="{alt}" style="{size}">'
    else:
        picture = f'<span class="m2s-blank" style="{size}" role="img" aria-label="{NO_PICTURES}">–</span>'
    return f'<span class="m2s-shot">{picture}<small>{at or f"shot {shot}"}</small></span>'


def button_html(act: str, value: str, words: str, *, enabled: bool = True, hint: str = "") -> str:
    """A button that a `Panel` reports as (act, value)."""
    off = "" if enabled else " disabled"
    tip = f' title="{escape_html(hint)}"' if hint else ""
    return (
        f'<button type="button" class="m2s-button" data-act="{escape_html(act)}" '
        f'data-value="{escape_html(value)}"{tip}{off}>{escape_html(words)}</button>'
    )


def error_strip(message: str) -> str:
    """What went wrong, visible and read aloud, with a button (act 'dismiss'); '' when there is nothing."""
    return _strip("m2s-error", "alert", "✖", message)


def notice_strip(message: str) -> str:
    """What was done, as `error_strip`."""
    return _strip("m2s-notice", "status", "✔", message)


def _strip(kind: str, role: str, mark: str, message: str) -> str:
    if not message:
        return ""
    return (
        f'<div class="{kind}" role="{role}"><span aria-hidden="true">{mark}</span> '
        f"<span>{escape_html(message)}</span>{button_html('dismiss', '', 'close')}</div>"
    )


def code_html(code: str, words: str = "copy") -> str:
    """Code with a button that copies it to the clipboard, in the browser alone."""
    return (
        f'<div class="m2s-code"><pre tabindex="0" aria-label="code">{escape_html(code)}</pre>'
        f'<button type="button" class="m2s-button" data-copy="1">{escape_html(words)}</button></div>'
    )


def clip_html(name: str, label: str) -> str:
    """The place of a clip that `Panel.send_clip(name, ...)` fills."""
    name, label = escape_html(name), escape_html(label)
    return (
        f'<figure class="m2s-clip"><video data-clip="{name}" aria-label="{label}" controls muted playsinline '
        f"loop></video><figcaption>{label}</figcaption></figure>"
    )


# -- errors and events --


def error_words(error: Exception) -> str:
    """An exception as the error strip says it: an M2SError as it is, others with their kind."""
    return str(error) if isinstance(error, M2SError) else f"unexpected {type(error).__name__}: {error}"


def guarded(handle: Callable, show: Callable[[str], None]) -> Callable:
    """`handle`, with every exception shown by `show(words)`: front ends swallow what handlers raise."""

    @functools.wraps(handle)
    def inside(*args, **kwargs):
        try:
            return handle(*args, **kwargs)
        except Exception as error:  # whatever it is, the person who clicked has to see it
            return show(error_words(error))

    return inside


class Panel(anywidget.AnyWidget):
    """A piece of a screen: HTML made in Python, clicks and keys reported back.

    Attributes:
        html: what is shown. Buttons of `button_html` are reported to `on_act`.
        key_names: keys (JavaScript's names, 'ArrowLeft', 'n', ' ') that are reported to `on_key` while the
            panel or something in it has the focus, text fields apart; JupyterLab's own shortcuts do not see
            them. (`keys` is a name of ipywidgets'.)
        label: what a screen reader says of it; with `focusable` it can be reached by the tab key.
    """

    _esm, _css = HERE.joinpath("live_parts.js").read_text("utf-8"), PANEL_CSS
    html = traitlets.Unicode("").tag(sync=True)
    key_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    focusable = traitlets.Bool(False).tag(sync=True)

    def on_act(self, handle: Callable[[str, str], None]) -> None:
        """Call handle(act, value) for every click on (or Enter and Space in) a button."""
        self.on_msg(
            lambda _, content, buffers: "act" in content and handle(content["act"], str(content["value"]))
        )

    def on_key(self, handle: Callable[[str, bool], None]) -> None:
        """Call handle(key, with_shift) for every key of `key_names`."""
        self.on_msg(
            lambda _, content, buffers: "key" in content and handle(content["key"], bool(content["shift"]))
        )

    def send_clip(self, name: str, data: bytes, play: bool = True) -> None:
        """Give the video `clip_html(name, ...)` its file; as a message, so that no notebook stores it."""
        self.send({"clip": name, "play": play}, buffers=[data])
