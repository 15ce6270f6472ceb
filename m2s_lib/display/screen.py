"""What both live screens do: messages, shots over the page, players, controls that follow a state.

A screen is a state, functions from state to state, and functions from state to HTML; `Screen` alone knows
widgets.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

import ipywidgets as widgets

from m2s_lib.display import screen_state as states
from m2s_lib.display.filmstrips import proportions
from m2s_lib.display.panel import Panel, error_words, guarded
from m2s_lib.display.playback import Clip
from m2s_lib.display.scene_html import button_html, clip_html, messages_html, picture_html
from m2s_lib.display.screen_state import Films, SceneKey, ScreenState
from m2s_lib.display.text import escape_html
from m2s_lib.films.store.shot_store import ShotStore

_LARGE_PX = 540  # height of a picture over the page
_PLAYED = 9  # shots that "play from here" plays


class Players:
    """Players by scene; each is drawn once, however often its scene is shown.

    Args:
        films: of the screen. state: what plays. clips: what has been cut, or the words instead.
        tray: the scenes that people keep (`page.tray.Tray`), None on a screen without one.
    """

    def __init__(self, films: Films, state: ScreenState, clips: Mapping[SceneKey, Clip | str], tray=None):
        self.films, self.clips, self.playing, self._tray = films, clips, state.playing, tray
        self._left = list(state.playing)

    @property
    def visitors(self) -> bool:
        """Whether the page is for visitors: with a tray, without library calls."""
        return self._tray is not None

    @property
    def like(self) -> str:
        """What the button says that searches for scenes like one."""
        return "scenes like this" if self.visitors else "use as query"

    def star(self, scene: SceneKey) -> list[tuple[str, str, str]]:
        """The button that puts a scene into the tray or takes it out; [] on a screen without one."""
        if not self.visitors:
            return []
        return [("star", str(scene), "★ in the tray" if scene in self._tray else "☆ keep")]

    def html(self, scene: SceneKey) -> str:
        """The scene's player, '' where it does not play or was drawn already."""
        if scene not in self._left:
            return ""
        self._left.remove(scene)
        start_s = self.films.starts_s(scene)
        return clip_html(self.clips.get(scene), self.films.label(scene), str(scene), start_s)


def view_html(films: Films, state: ScreenState, players: Players) -> str:
    """Shots over the page, large: two side by side where a pair is looked at; '' without any."""
    if not state.viewed:
        return ""
    wide = 92 // len(state.viewed)
    parts = []
    for shot in state.viewed:
        store, label = films.store(shot.film_id), f"{films.label(shot)}, shot {shot.shot}"
        aspect = proportions(store)
        size = f"width:min({wide}vw,{72 * aspect:.1f}vh);aspect-ratio:{aspect:.4f}"
        onward = _onward(store, shot)
        picture = players.html(onward) or picture_html(store, shot.shot, label, _LARGE_PX, size)
        again = button_html("play", str(onward), "▶ play from here")
        parts.append(f"<figure>{picture}<figcaption>{escape_html(label)}{again}</figcaption></figure>")
    bar = [
        button_html("view-step", "-1", "◀ previous shot", hint="key ←"),
        button_html("view-step", "1", "next shot ▶", hint="key →"),
        button_html("view-close", "", "close", hint="key Escape"),
    ]
    return (
        f'<dialog class="m2s-view" aria-label="one shot, large"><div class="m2s-bar">{"".join(bar)}</div>'
        f'<div class="m2s-pair m2s-together">{"".join(parts)}</div></dialog>'
    )


def _onward(store: ShotStore, shot: SceneKey) -> SceneKey:
    return shot._replace(n=min(_PLAYED, store.n_shots - shot.shot))


class Screen:
    """A live screen; the explorer and the gallery add what they show.

    Attributes:
        data: what is looked at. state: what is shown. screen: the widget. messages, view: its panels.
        tray: the scenes that people keep, None without. on_change: called when something else is shown.
    """

    tray, on_change = None, staticmethod(lambda: None)

    def __init__(self, data, state: ScreenState, name: str, tray=None):
        self.data, self.state, self.clips, self._quiet, self.tray = data, state, {}, False, tray
        self.messages = self.panel(f"messages of the {name}")
        self.view = self.panel(f"a shot of the {name}, large", ["ArrowLeft", "ArrowRight"])
        self.view.on_key(
            self.guard(lambda key, _: self.act("view-step", "1" if key == "ArrowRight" else "-1"))
        )
        self.screen = widgets.VBox(
            [self.messages, *self.build(), self.view], layout=widgets.Layout(width="100%", overflow="hidden")
        )
        self.screen.add_class(f"m2s-{name}")
        self.show(state)

    # -- what a screen adds --

    def build(self) -> list[widgets.Widget]:
        """Its rows, made once."""
        raise NotImplementedError

    def draw(self, players: Players) -> None:
        """Fill its panels from `self.state`."""
        raise NotImplementedError

    def library(self) -> Films:
        """The films of what is shown."""
        raise NotImplementedError

    def acts(self, act: str, value: str) -> None:
        """Its own buttons."""
        raise NotImplementedError

    # -- events --

    def panel(
        self, label: str, keys: list[str] | tuple = (), focusable: bool = False, kind: type = Panel
    ) -> Panel:
        """A panel whose buttons are reported to `act`."""
        panel = kind(label=label, key_names=list(keys), focusable=focusable)
        panel.on_act(self.guard(self.act))
        return panel

    def guard(self, handle: Callable) -> Callable:
        """`handle`, with what it raises shown as a message."""
        return guarded(handle, lambda words: self.show(replace(self.state, error=words, notice="")))

    def watch(self, control: widgets.Widget, handle: Callable, trait: str = "value") -> None:
        """Call handle(value) when somebody, not the state, changes a control."""
        control.observe(self.guard(lambda change: None if self._quiet else handle(change["new"])), trait)

    def change(self, function: Callable, *arguments, **options) -> None:
        """Replace the state by function(data, state, ...) and draw it."""
        self.show(function(self.data, self.state, *arguments, **options))

    def act(self, act: str, value: str = "") -> None:
        """A button of any panel."""
        if act == "dismiss":
            self.change(states.dismiss)
        elif act == "view":
            self.change(states.view, *self.beside(SceneKey.parse(value)))
        elif act == "view-step":
            self.show(states.step_view(self.library(), self.state, int(value)))
        elif act == "view-close":
            self.change(states.view)
        elif act == "star" and self.tray is not None:
            self.tray.toggle(SceneKey.parse(value))
            self.show(self.state)
        elif act == "play" and value:
            self.change(states.play, SceneKey.parse(value))
        else:
            self.acts(act, value)

    def beside(self, shot: SceneKey) -> list[SceneKey]:
        """The shots that are shown over the page when this one is clicked."""
        return [shot]

    # -- drawing --

    def show(self, state: ScreenState) -> None:
        """Draw a state; only what differs goes to the browser. Clips that are wanted are cut in a thread."""
        self.state = state
        self.clips = {scene: clip for scene, clip in self.clips.items() if scene in state.playing}
        films, quiet = self.library(), self._quiet
        players = Players(films, state, self.clips, self.tray)
        self.view.html = view_html(films, state, players)
        self._quiet = True
        try:
            self.draw(players)
        finally:
            self._quiet = quiet
        self.messages.html = messages_html(state.error, state.notice)  # once what it speaks of is there
        self.on_change()
        wanted = [scene for scene in state.playing if scene not in self.clips]
        if wanted:
            self.clips |= dict.fromkeys(wanted)
            self.cutting = threading.Thread(target=self._cut, args=(films, wanted), daemon=True)
            self.cutting.start()

    def _cut(self, films: Films, scenes: list[SceneKey]) -> None:
        """The clips one after another, each shown as soon as it is there unless it is not wanted any more."""
        problems = []
        for scene in scenes:
            clip: Clip | str
            try:
                clip = films.clip(scene)
                data = clip.data()
            except Exception as error:  # in a thread nobody else would see it
                problems.append(error_words(error))
                clip = "There is no clip; the message above says why."
            if scene not in self.state.playing:
                continue
            self.clips[scene] = clip
            self.show(replace(self.state, error=" · ".join(dict.fromkeys(problems)) or self.state.error))
            if isinstance(clip, Clip):
                self._send(clip.path.name, data)

    def _send(self, name: str, data: bytes) -> None:
        for panel in vars(self).values():
            if isinstance(panel, Panel) and escape_html(name) in panel.html:
                panel.send_clip(name, data)


def set_options(control: widgets.Widget, options: list, value: object) -> None:
    """New options of a list, and the value where it is one of them."""
    if list(control.options) != list(options):
        control.options = options
    values = [o[1] if isinstance(o, tuple) else o for o in options]
    if value in values and control.value != value:
        control.value = value


def fields(controls: Mapping[str, widgets.Widget]) -> widgets.Widget:
    """Controls side by side on one grid, labels above them; each has the class m2s-<name>."""
    for name, control in controls.items():
        control.add_class(f"m2s-{name}")
        control.layout.width, control.layout.min_width = "auto", "0"
    box = widgets.Box(list(controls.values()))
    box.add_class("m2s-controls")
    return box
