"""Draws the shots of the embedded films: pictures from plans, nothing else."""

import numpy as np

from m2s_lib.films.world.plan import ShapesFilm, ShapesScene, ShapesShot, WorldConfig
from m2s_lib.films.world.records import RELATIONSHIPS

# The theme's light: gratings that differ in direction and pitch only, so that their colours and brightness
# are the same. (cycles over a quarter of the picture's width, cycles over a quarter of its height): slow
# enough for any codec.
_WAVES = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2), (2, 1), (1, 2), (2, 2), (2, -2), (2, -1), (1, -2))
_WAVES_PER_PICTURE = 4
# A cut to another set-up shows another wall, so that it can be seen as one.
_WALLS = np.asarray(
    [[1.35, 0.85, 0.80], [0.65, 0.90, 0.65], [0.90, 0.85, 1.40], [1.25, 1.30, 0.70]], np.float32
)
_PERSON_COLOURS = np.asarray([[0.85, 0.55, 0.40], [0.45, 0.60, 0.80], [0.60, 0.75, 0.45], [0.80, 0.75, 0.45]])


def draw_shot(config: WorldConfig, film: ShapesFilm, scene_number: int, shot_number: int) -> np.ndarray:
    """Draw one shot of a film, without its transition.

    Args:
        scene_number: which scene of the film; shot_number: which shot of that scene.
    Returns:
        uint8 [frames, height, width, 3].
    """
    scene = film.scenes[scene_number]
    shot = scene.shots[shot_number]
    rng = np.random.default_rng([config.seed, 4, film.number, scene_number, shot_number])
    h, w = config.height, config.width
    margin = w // 4
    canvas = _set(scene, shot, h, w + 2 * margin, rng)
    sprites = _people(scene, shot, h, w, rng)
    light = np.asarray(film.tint, np.float32) * np.ones((h, w, 1), np.float32)  # [h, w, 3]
    if shot.shows_theme:
        light *= 1 + config.theme_strength * _theme_light(scene.theme, h, w)[:, :, None]
    noise = (film.grain * rng.standard_normal((4, h, w, 1))).astype(np.float32)
    frames = np.empty((shot.frames, h, w, 3), np.uint8)
    for t in range(shot.frames):
        at = t / max(shot.frames - 1, 1)
        x0 = margin + round(shot.pan * w * (at - 0.5))
        picture = canvas[:, x0 : x0 + w].copy()
        for x, y, mask, colour, sway in sprites:
            _paste(picture, x + sway * np.sin(2 * np.pi * at), y, mask, colour)
        _prop(picture, shot, scene)
        picture = picture * light * (1 + (shot.light - 1) * at) + noise[t % 4]
        if film.letterbox:
            picture[: film.letterbox] = picture[-film.letterbox :] = 0
        np.clip(picture * 255, 0, 255, out=picture)
        frames[t] = picture
    return frames


def draw_keyframe(config: WorldConfig, film: ShapesFilm, scene: int, shot: int) -> np.ndarray:
    """The frame in the middle of a shot: uint8 [height, width, 3]."""
    drawn = draw_shot(config, film, scene, shot)
    return drawn[len(drawn) // 2]


def _set(scene: ShapesScene, shot: ShapesShot, h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """The empty set: the scene's light and warmth, a gradient that turns with the angle, the place."""
    base = 0.26 if scene.night else 0.56
    colour = np.asarray([1.15, 0.95, 0.70] if scene.warm else [0.75, 0.95, 1.18], np.float32) * base
    colour *= _WALLS[shot.setup.wall]
    x = np.linspace(0, 1, w, dtype=np.float32)
    slope = 1 + 0.25 * np.cos(2 * np.pi * (x - shot.setup.angle))
    floor = np.where(np.arange(h) > h * (0.62 if not shot.setup.close else 0.8), 0.75, 1.0).astype(np.float32)
    canvas = floor[:, None, None] * slope[None, :, None] * colour  # [h, w, 3]
    _furnish(canvas, scene.place, shot.setup.angle)
    return canvas


def _furnish(canvas: np.ndarray, place: int, angle: float) -> None:
    """Six places, each with furniture of its own: blocks at places that move with the camera's angle."""
    h, w, _ = canvas.shape
    shift = int(angle * w / 3)
    for i in range(4):
        x = (shift + i * w // 4) % w
        if place == 0:  # office: desks
            canvas[int(0.55 * h) : int(0.68 * h), x : x + w // 7] *= 0.7
        elif place == 1:  # airport: a band of windows
            canvas[int(0.15 * h) : int(0.35 * h), x : x + w // 6] *= 1.3
        elif place == 2:  # school: a board
            canvas[int(0.20 * h) : int(0.50 * h), x : x + w // 9] *= 0.75
        elif place == 3:  # hotel: doors
            canvas[int(0.25 * h) : int(0.75 * h), x : x + w // 16] *= 0.6
        elif place == 4:  # prison: bars
            for j in range(3):
                canvas[:, (x + j * w // 14) % w] *= 0.45
        else:  # restaurant: lamps
            canvas[int(0.10 * h) : int(0.18 * h), x : x + w // 20] *= 1.7


def _theme_light(theme: int, h: int, w: int) -> np.ndarray:
    """The theme's grating in [-1, 1], fixed to the picture as light through blinds is to a set: [h, w]."""
    across, down = _WAVES[theme]
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    return np.sin(2 * np.pi * _WAVES_PER_PICTURE * (across * x / w + down * y / h))


def _people(scene: ShapesScene, shot: ShapesShot, h: int, w: int, rng: np.random.Generator) -> list[tuple]:
    """Sprites (x, y, mask, colour, sway px): big faces in a close-up, small figures in a wide shot."""
    count = (2 if shot.setup.close else 6) if scene.crowd else (1 if shot.setup.close else 2)
    size = shot.zoom * h * (0.62 if shot.setup.close else 0.24)
    near = 0.5 * (1 + scene.relationship) / len(RELATIONSHIPS)  # their distance says who the two are
    sprites = []
    for i in range(count):
        if i < 2:
            x = w * (0.3 + 0.4 * shot.setup.angle) + (i - shot.setup.person) * w * near * 0.6
        else:
            x = rng.uniform(0.05, 0.95) * w
        y = h * (0.55 if shot.setup.close else 0.62)
        colour = _PERSON_COLOURS[(scene.relationship + i) % 4] * (0.55 if scene.night else 1.0)
        mask = _ellipse(size, size * (0.75 if shot.setup.close else 0.4))
        sprites.append((x, y, mask, colour, 1.0 + 1.5 * scene.speaking))
    return sprites


def _ellipse(height: float, width: float) -> np.ndarray:
    rows, cols = max(int(height), 2), max(int(width), 2)
    y, x = np.mgrid[0:rows, 0:cols]
    return ((y - rows / 2) / (rows / 2)) ** 2 + ((x - cols / 2) / (cols / 2)) ** 2 <= 1


def _paste(picture: np.ndarray, x: float, y: float, mask: np.ndarray, colour: np.ndarray) -> None:
    """Colour the pixels of `mask`, centred at (x, y), where they lie inside the picture."""
    h, w, _ = picture.shape
    top, left = int(y - mask.shape[0] / 2), int(x - mask.shape[1] / 2)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + mask.shape[0], h), min(left + mask.shape[1], w)
    if y0 < y1 and x0 < x1:
        part = mask[y0 - top : y1 - top, x0 - left : x1 - left]
        picture[y0:y1, x0:x1][part] = colour


def _prop(picture: np.ndarray, shot: ShapesShot, scene: ShapesScene) -> None:
    """A small bright square that wanders from shot to shot; its border tells the moderation class."""
    h, w, _ = picture.shape
    s = 7
    y, x = int(shot.prop[1] * (h - s)), int(shot.prop[0] * (w - s))
    picture[y : y + s, x : x + s] = 0.9
    if scene.moderation:
        border = np.asarray([[0.9, 0.2, 0.6], [0.9, 0.1, 0.1], [0.2, 0.8, 0.2]])[scene.moderation - 1]
        picture[y : y + s, x : x + 2] = picture[y : y + s, x + s - 2 : x + s] = border
