"""Films with labelled boundaries and places made up for tests, in memory and in the real formats."""

import json

import numpy as np

from m2s_lib.evaluation.movienet.shot_windows import LabelledFilm


def make_film(name, labels, fps=24.0):
    n = len(labels)
    bounds = np.stack([np.arange(n) * 10, np.arange(n) * 10 + 9], axis=1)
    return LabelledFilm(name, bounds, np.array(labels, np.int8), fps)


def world(films=9, shots=60, seed=0, permuted=False):
    """Scenes of random length, each with a look of its own; permuted labels have nothing to do with looks."""
    rng = np.random.default_rng(seed)
    labelled, embeddings = [], {}
    for i in range(films):
        labels = (rng.random(shots) < 0.2).astype(np.int8)
        scene = np.r_[0, np.cumsum(labels[:-1])]
        x = rng.standard_normal((scene.max() + 1, 4))[scene] + 0.1 * rng.standard_normal((shots, 4))
        pairs = np.c_[x, np.abs(x - np.roll(x, -1, 0))]  # the look, and how it changes
        labelled.append(make_film(f"f{i}", rng.permutation(labels) if permuted else labels))
        embeddings[f"f{i}"] = pairs.astype(np.float32)
    split = {f"f{i}": "test" if i % 3 == 0 else "val" if i % 3 == 1 else "train" for i in range(films)}
    return labelled, embeddings, split


def write_film(folder, shots, scenes, features=None):
    folder.mkdir(parents=True)
    (folder / "name.txt").write_text(f"Film {folder.name}")
    (folder / "shots.txt").write_text("".join(f"{a} {b}\n" for a, b in shots))
    (folder / "scenes.txt").write_text("".join(f"{a}\t{b}\n" for a, b in scenes))
    np.save(folder / "features_x.npy", np.ones((len(shots), 3)) if features is None else features)


def write_annotation(folder, film, scenes):
    (folder / "annotation").mkdir(parents=True, exist_ok=True)
    listed = [
        {"id": f"{film}_{i:04d}", "shot": shot, "frame": [0, 9], "place_tag": tag, "action_tag": None}
        for i, (shot, tag) in enumerate(scenes)
    ]
    (folder / "annotation" / f"{film}.json").write_text(json.dumps({"imdb_id": film, "scene": listed}))
