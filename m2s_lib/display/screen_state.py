"""What the states of both screens have, without a screen: which films, which shots, what plays, the messages.

A state is a frozen dataclass that only functions change; what goes wrong becomes `state.error`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import NamedTuple, Self

from m2s_lib.display.filmstrips import start_times, timecode_range
from m2s_lib.display.playback import Clip, scene_clip
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore


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
        return float(start_times(self.store(scene.film_id))[scene.shot])


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
