"""Small embedded worlds, and what their files hold."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from m2s_lib.films.stories.frames import draw_shot
from m2s_lib.films.stories.plan import StoriesConfig, StoryFilm, StoryScene
from m2s_lib.films.world.plan import WorldConfig
from m2s_lib.films.world.records import Film, World

TINY = WorldConfig(seed=3, films=3, benchmark_films=2, shots=24, viewers=30)
TINY_STORIES = StoriesConfig(seed=3, films=3, benchmark_films=2, shots=24, viewers=30)


def decode(path) -> np.ndarray:
    """All frames of a video as a player shows them: uint8 [frames, h, w, c]."""
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def key_frames(path) -> list[int]:
    """Numbers of the frames that a decoder can start from."""
    import av

    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    return [i for i, p in enumerate(packets) if p.is_keyframe]


def digests(folder) -> dict[str, str]:
    """Content hash of every file under a folder."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    }


def with_transitions(film: Film, kinds: tuple[str, ...]) -> Film:
    """The film with its transitions replaced, in turn."""
    scenes, at = [], 0
    for scene in film.scenes:
        shots = []
        for shot in scene.shots:
            shots.append(dataclasses.replace(shot, transition=kinds[at % len(kinds)]))
            at += 1
        scenes.append(dataclasses.replace(scene, shots=tuple(shots)))
    return dataclasses.replace(film, scenes=tuple(scenes))


def world_with_transitions(world: World, kinds: tuple[str, ...]) -> World:
    """The world with every film's transitions replaced."""
    return World(world.config, tuple(with_transitions(f, kinds) for f in world.films))


def redrawn(film: StoryFilm, **changes) -> np.ndarray:
    """The first shot of a film with something else about it or its scene: uint8 [frames, h, w, c]."""
    scene, of_scene = film.scenes[0], {f.name for f in dataclasses.fields(StoryScene)}
    shot = dataclasses.replace(scene.shots[0], **{k: v for k, v in changes.items() if k not in of_scene})
    scene = dataclasses.replace(scene, shots=(shot, *scene.shots[1:]))
    scene = dataclasses.replace(scene, **{k: v for k, v in changes.items() if k in of_scene})
    film = dataclasses.replace(film, scenes=(scene, *film.scenes[1:]))
    return draw_shot(TINY_STORIES, film, 0, 0)
