"""The one widget that both screens are made of: HTML made in Python, clicks and keys reported back."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

from m2s_lib.errors import M2SError

HERE = Path(__file__).parent  # of the script and the style sheet
PANEL_CSS = HERE.joinpath("panel.css").read_text("utf-8")
_BATCH = ("M2S_PIPELINE", "PYTEST_VERSION", "PYTEST_CURRENT_TEST")  # set where nobody looks


def headless() -> bool:
    """Returns whether nobody looks (pipeline, papermill, nbval, nbconvert, plain Python): then no widget is
    made.

    JupyterLab and Voilà say who they are in the kernel's environment; other front ends are known by letting
    the kernel ask for input, which batch programs do not. M2S_LIVE=1 or 0 overrides the guess.
    """
    asked = os.environ.get("M2S_LIVE", "")
    if asked in ("0", "1"):
        return asked == "0"
    if any(os.environ.get(name) for name in _BATCH):
        return True
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython() if ipython else None, "kernel", None)
    if kernel is None:
        return True
    return not (os.environ.get("JPY_SESSION_NAME") or voila() or getattr(kernel, "_allow_stdin", True))


def voila() -> bool:
    """Returns whether Voilà runs this kernel: a page for visitors."""
    return "voila" in os.environ.get("SERVER_SOFTWARE", "").lower()


def error_words(error: Exception) -> str:
    """An exception as the error strip words it: an M2SError as it is, others with their kind."""
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
    """A piece of a screen.

    Attributes:
        html: what is shown. Buttons of `button_html` are reported to `on_act`.
        key_names: keys (JavaScript's names, 'ArrowLeft', 'n', ' ') that are reported to `on_key` while the
            panel or something in it has the focus, text fields apart; JupyterLab's own shortcuts do not see
            them. (`keys` is a name of ipywidgets'.)
        label: what a screen reader says of it; with `focusable` it can be reached by the tab key.
    """

    _esm, _css = HERE.joinpath("panel.js").read_text("utf-8"), PANEL_CSS
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

    def send_clip(self, name: str, data: bytes) -> None:
        """Give the video `clip_html(name, ...)` its file; as a message, so that no notebook stores it."""
        self.send({"clip": name}, buffers=[data])
