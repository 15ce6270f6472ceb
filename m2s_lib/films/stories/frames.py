"""Draws the shots of the embedded films: sets, people and texture put together, two frames a drawing."""

import numpy as np

from m2s_lib.films.stories.canvas import Canvas
from m2s_lib.films.stories.looks import texture
from m2s_lib.films.stories.plan import StoriesConfig, StoryFilm
from m2s_lib.films.stories.sets import Set
from m2s_lib.films.stories.staging import Stage

_HOLD = 2  # frames that show the same drawing, as in films drawn by hand
_MARGIN = 0.1  # of the picture's width on each side, for pans
_NEAR = 1.7  # how much closer the set is behind a face or a hand


def draw_shot(config: StoriesConfig, film: StoryFilm, scene: int, shot: int) -> np.ndarray:
    """Draw one shot of a film, without its transition.

    Args:
        scene: which scene of the film. shot: which shot of that scene.

    Returns:
        uint8 [frames, height, width, 3].
    """
    drawing = _Drawing(config, film, scene, shot)
    return np.stack([drawing.frame(t) for t in range(drawing.shot.frames)])


def draw_keyframe(config: StoriesConfig, film: StoryFilm, scene: int, shot: int) -> np.ndarray:
    """The frame in the middle of a shot: uint8 [height, width, 3]."""
    drawing = _Drawing(config, film, scene, shot)
    return drawing.frame(drawing.shot.frames // 2)


class _Drawing:
    """A shot that is being drawn: its empty set, wider than the picture, and its people over it."""

    def __init__(self, config: StoriesConfig, film: StoryFilm, scene: int, shot: int):
        self.film, self.scene = film, film.scenes[scene]
        self.shot = self.scene.shots[shot]
        self.width, self.height, self.margin = config.width, config.height, int(_MARGIN * config.width)
        rng = np.random.default_rng([config.seed, 4, film.number, scene, shot])
        self.seed = int(rng.integers(1 << 30))
        self.gain, self.grain = texture(film.look, self.width, self.height, 1000 * config.seed + film.number)
        self.set = self._empty_set()
        self.canvas = self._canvas(self.width)
        self.held, self.drawn = -1, None

    def frame(self, t: int) -> np.ndarray:
        """Frame number t: uint8 [h, w, 3]."""
        last = max(self.shot.frames - 1, 1)
        if t // _HOLD != self.held:
            self.held = t // _HOLD
            self.drawn = self._draw(self.held * _HOLD / last)
        light = self.gain * (1 + (self.shot.light - 1) * t / last)  # [h, w, 1]
        picture = self.drawn * light + self.grain[(t + self.seed) % len(self.grain)]
        return np.clip(picture, 0, 255, out=picture).astype(np.uint8)

    def _draw(self, at: float) -> np.ndarray:
        left = self.margin + round(self.shot.pan * self.width * (at - 0.5))
        self.canvas.lay(self.set[:, left : left + self.width])
        rng = np.random.default_rng(self.seed)
        getattr(Stage(self.canvas, self.film, self.scene, self.shot, at, rng), self.shot.kind)()
        return self.canvas.picture().astype(np.float32)

    def _empty_set(self) -> np.ndarray:
        """uint8 [h, w + 2 margin, 3]."""
        canvas, near = self._canvas(self.width + 2 * self.margin), self.shot.kind in ("close", "hands")
        drawn = Set(canvas, self.film.look, self.scene, self.shot.setup, _NEAR if near else 1.0)
        if self.shot.kind == "outside":
            drawn.outside()
        else:
            drawn.inside()
        return canvas.picture()

    def _canvas(self, width: int) -> Canvas:
        look = self.film.look
        return Canvas(width, self.height, look.grade(self.scene.time), look.ink, look.outline)
