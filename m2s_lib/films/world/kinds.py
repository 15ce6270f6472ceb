"""The two kinds of embedded world: what plans one, what draws its shots, and the code that both depend on.

`shapes` is planned and drawn by `plan` and `frames` beside this file, `stories` by `m2s_lib.films.stories`.
Files, labels and viewers are the same for both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from m2s_lib.errors import M2SError
from m2s_lib.films.stories import canvas, figures, looks, poses, sets, staging, story, things
from m2s_lib.films.stories import frames as story_frames
from m2s_lib.films.stories import plan as story_plan
from m2s_lib.films.world import frames, plan
from m2s_lib.films.world.records import Film, World, WorldSize


@dataclass(frozen=True)
class Kind:
    """A kind of embedded world."""

    config: type[WorldSize]
    plan_film: Callable[[WorldSize, int], Film]
    draw_shot: Callable  # (config, film, scene, shot) to uint8 [frames, h, w, c]
    draw_keyframe: Callable  # the same to its middle frame, uint8 [h, w, c]
    drawing: tuple[ModuleType, ...]  # what a film's pixels depend on
    planning: tuple[ModuleType, ...]  # what its labels depend on

    @property
    def sources(self) -> list[Path]:
        """The files of all of this code."""
        return [Path(module.__file__) for module in (*self.planning, *self.drawing)]


KINDS = {
    "shapes": Kind(
        plan.WorldConfig, plan.plan_film, frames.draw_shot, frames.draw_keyframe, (frames,), (plan,)
    ),
    "stories": Kind(
        story_plan.StoriesConfig,
        story_plan.plan_film,
        story_frames.draw_shot,
        story_frames.draw_keyframe,
        (canvas, figures, story_frames, looks, poses, sets, staging, things),
        (story_plan, story),
    ),
}


def kind_of(config: WorldSize) -> Kind:
    """Returns the kind of world that a config belongs to."""
    return next(kind for kind in KINDS.values() if kind.config is type(config))


def plan_world(config: WorldSize) -> World:
    """Plans every film of a world; the same config gives the same world, film by film.

    Raises:
        M2SError: for a world too small to hold pairs, scenes or cuts.
    """
    count = config.films + config.benchmark_films
    if count < 2 or config.shots < 1 or config.fps < 4:
        raise M2SError(
            f"an embedded world needs at least 2 films, 1 shot a film and 4 frames a second; got {config}"
        )
    plan_film = kind_of(config).plan_film
    return World(config, tuple(plan_film(config, i) for i in range(count)))


def of_kind(kind: str, size: WorldSize) -> WorldSize:
    """The config of a world of a kind, with the seed and the numbers of films, shots and viewers of `size`.

    Raises:
        M2SError: an unknown kind.
    """
    if kind not in KINDS:
        raise M2SError(f"unknown kind of embedded world {kind!r}: use one of {list(KINDS)}")
    config = KINDS[kind].config
    if type(size) is config:
        return size
    return config(size.seed, size.films, size.benchmark_films, size.shots, size.viewers)
