"""What both live screens do: a state that only functions change, messages, shots over the page, players.

A screen is a state (a frozen dataclass), functions from state to state, and functions from state to HTML;
`Screen` alone knows widgets. What goes wrong becomes `state.error`.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import NamedTuple, Self

import ipywidgets as widgets

from m2s_lib.display.filmstrips import proportions, timecode_range
from m2s_lib.display.panel import Panel, error_words, guarded
from m2s_lib.display.playback import Clip, scene_clip
from m2s_lib.display.scene_html import button_html, clip_html, messages_html, picture_html
from m2s_lib.display.style import escape_html
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore

_LARGE_PX = 540  # height of a picture over the page
_PLAYED = 9  # shots that "play from here" plays


class SceneKey(NamedTuple):
    """A scene of a film: n shots from `shot` on."""

    film_id: str
    shot: int
    n: int = 1

    def __str__(self) -> str:
        return f"{self.film_id}:{self.shot}:{self.n}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what `str` wrote; the number of shots may be absent after a shot: 'film:3' is one shot."""
        film, shot, n = text.rsplit(":", 2) if text.count(":") > 1 else (*text.rsplit(":", 1), "1")
        return cls(film, int(shot), int(n))


@dataclass(frozen=True)
class Films:
    """Where the films of a screen are: by film_id their shots, titles and files; run_dir keeps clips."""

    stores: Mapping[str, ShotStore]
    titles: Mapping[str, str]
    files: Mapping[str, str]
    run_dir: object

    def title(self, film: str) -> str:
        """A film's title, its id where it has none."""
        title = self.titles.get(film, "")
        return title if isinstance(title, str) and title.strip() else str(film)

    def store(self, film: str) -> ShotStore:
        """A film's shots; M2SError for a film that is not there."""
        if film not in self.stores:
            raise M2SError(f"film {film!r} is not among the {len(self.titles)} films here")
        return self.stores[film]

    def label(self, scene: SceneKey) -> str:
        """A scene in words: title and times."""
        return f"{self.title(scene.film_id)}, {timecode_range(self.store(scene.film_id), *scene[1:])}"

    def clip(self, scene: SceneKey) -> Clip:
        """The clip of a scene, cut now where it is not there yet; M2SError where it cannot be."""
        film = scene.film_id
        return scene_clip(self.store(film), self.files.get(film, ""), scene.shot, scene.n, self.run_dir)

    def starts_s(self, scene: SceneKey) -> float:
        """Seconds from the film's first frame to the scene."""
        return float(self.store(scene.film_id).shots["start_s"].iloc[scene.shot])


@dataclass(frozen=True, kw_only=True)
class ScreenState:
    """What the states of both screens have."""

    viewed: tuple[SceneKey, ...] = ()  # shots that are shown over the page, one or two
    playing: tuple[SceneKey, ...] = ()
    error: str = ""
    notice: str = ""


def handler(change: Callable) -> Callable:
    """Old messages go; an M2SError becomes the state's error and changes nothing else."""

    @wraps(change)
    def inside(data, state: ScreenState, *args, **kwargs) -> ScreenState:
        state = replace(state, error="", notice="")
        try:
            return change(data, state, *args, **kwargs)
        except M2SError as error:
            return replace(state, error=str(error))

    return inside


@handler
def dismiss(data, state: ScreenState) -> ScreenState:
    """Close the message."""
    return state


@handler
def view(data, state: ScreenState, *shots: SceneKey) -> ScreenState:
    """Show these shots over the page; without any close it."""
    return replace(state, viewed=shots, playing=())


@handler
def step_view(data: Films, state: ScreenState, by: int) -> ScreenState:
    """The shots after (by=1) or before (by=-1) those over the page, as far as the films go."""
    moved = [s._replace(shot=s.shot + by) for s in state.viewed]
    inside = all(0 <= s.shot < data.store(s.film_id).n_shots for s in moved)
    return replace(state, viewed=tuple(moved), playing=()) if inside else state


@handler
def play(data, state: ScreenState, *scenes: SceneKey) -> ScreenState:
    """Play these scenes in the place of what plays; asked for again they stop."""
    stops = set(scenes) <= set(state.playing)
    return replace(state, playing=tuple(s for s in state.playing if s not in scenes) if stops else scenes)


class Players:
    """Players by scene; each is drawn once, however often its scene is shown.

    Args:
        films: of the screen. state: what plays. clips: what has been cut, or the words instead.
    """

    def __init__(self, films: Films, state: ScreenState, clips: Mapping[SceneKey, Clip | str]):
        self.films, self.clips, self._left = films, clips, list(state.playing)

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
    """

    def __init__(self, data, state: ScreenState, name: str):
        self.data, self.state, self.clips, self._quiet = data, state, {}, False
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
            self.change(dismiss)
        elif act == "view":
            self.change(view, *self.beside(SceneKey.parse(value)))
        elif act == "view-step":
            self.show(step_view(self.library(), self.state, int(value)))
        elif act == "view-close":
            self.change(view)
        elif act == "play" and value:
            self.change(play, SceneKey.parse(value))
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
        players = Players(films, state, self.clips)
        self.messages.html = messages_html(state.error, state.notice)
        self.view.html = view_html(films, state, players)
        self._quiet = True
        try:
            self.draw(players)
        finally:
            self._quiet = quiet
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
