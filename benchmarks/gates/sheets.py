"""Gate g6: filmstrips for people to name. A sheet shows a scene of each theme, shuffled and without labels.

    python -m benchmarks.gates.sheets --world 103 --sheets 2 --out runs/gates

writes sheet_0.png, ... to be looked at, names.txt with the themes to choose from, and key.json with the
answers.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.gates.measure import DEVELOPMENT
from m2s_lib.films.stories.frames import draw_keyframe
from m2s_lib.films.stories.plan import StoriesConfig
from m2s_lib.films.stories.story import STORIES, THEMES
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.records import Film, World
from m2s_lib.io import atomic_path, write_json

SHOTS, GAP = 9, 8  # in a strip; px of white below it


def contact_sheet(world: World, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Twelve filmstrips of nine keyframes, one of each theme and each of another film, in random order.

    Returns:
        uint8 [12 (h + gap), 9 w, 3], and the theme of each strip from top to bottom.
    """
    chosen = _scenes(world, rng)
    strips, names = [], []
    for theme in rng.permutation(sorted(chosen)):
        film, number = chosen[theme]
        shots = len(film.scenes[number].shots)
        first = int(rng.integers(shots - SHOTS + 1))
        pictures = [draw_keyframe(world.config, film, number, first + i) for i in range(SHOTS)]
        strips.append(np.pad(np.hstack(pictures), ((0, GAP), (0, 0), (0, 0)), constant_values=255))
        names.append(THEMES[theme])
    return np.vstack(strips), names


def _scenes(world: World, rng: np.random.Generator) -> dict[int, tuple[Film, int]]:
    """A scene of each theme: theme -> film and number of the scene; no film twice."""
    chosen, used = {}, set()
    scenes = [(film, i) for film in world.films for i in range(len(film.scenes))]
    for at in rng.permutation(len(scenes)):
        film, i = scenes[at]
        scene = film.scenes[i]
        if scene.theme not in chosen and film.number not in used and len(scene.shots) >= SHOTS:
            chosen[scene.theme] = (film, i)
            used.add(film.number)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", type=int, default=DEVELOPMENT[0], choices=DEVELOPMENT)
    parser.add_argument("--sheets", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="which scenes")
    parser.add_argument("--out", default="runs/gates")
    options = parser.parse_args()
    out, key = Path(options.out), {}
    out.mkdir(parents=True, exist_ok=True)
    world = plan_world(StoriesConfig(options.world))
    for number in range(options.sheets):
        sheet, key[f"sheet_{number}.png"] = contact_sheet(
            world, np.random.default_rng([options.seed, number])
        )
        with atomic_path(out / f"sheet_{number}.png") as temporary:
            Image.fromarray(sheet).save(temporary, format="PNG")
    write_json(out / "key.json", key)
    with atomic_path(out / "names.txt") as temporary:
        lines = [f"{story.name}: {story.phrases[0]}" for story in sorted(STORIES, key=lambda s: s.name)]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
