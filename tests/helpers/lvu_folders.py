"""LVU folders made up for tests, in the real format, with the real lists' oddities."""

from pathlib import Path

import numpy as np

from m2s_lib.evaluation.lvu.files import TASKS

# rows of the real folder: train, val, test (11,565 in all, together with the tasks below)
REAL_SIZES = {
    "scene": (557, 120, 86), "director": (680, 163, 107), "relationship": (149, 53, 42),
    "way_speaking": (939, 205, 201), "writer": (769, 174, 168), "year": (770, 165, 143),
    "genre": (3063, 597, 647), "view_count": (577, 124, 126), "like_ratio": (658, 142, 140),
}  # fmt: skip
NAMES = {
    "scene": ("office", "airport", "school", "hotel", "prison", "restaurant"),
    "writer": ("\\N", *(f"nm{i:07d}" for i in range(1, 10))),
}
LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))


def write_lvu(folder: Path, sizes=None, seed=0, per_film=1) -> Path:
    """Write a folder of labels; classes 3 and up of `writer` never occur; films never in two splits."""
    rng = np.random.default_rng(seed)
    root, films, durations = folder / "lvu_1.0", iter(range(10_000_000)), []
    for task, counts in (sizes or {t: (24, 12, 12) for t in TASKS}).items():
        for split, count in zip(("train", "val", "test"), counts, strict=True):
            lines, film = [" ".join(TASKS[task].columns)], 0
            for i in range(count):
                film = next(films) if i % per_film == 0 else film
                video = "".join(LETTERS[rng.integers(len(LETTERS), size=11)])
                video = "-" + video[1:] if i % 5 == 0 else video
                durations.append(f"{video},{rng.integers(3, 782)}")
                lines.append(f"{label(task, i, rng)} {video} tt{film + 1:07d}")
            path = root / task / f"{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    (root / "lvu_durations.csv").write_text("videoid,duration\n" + "\n".join(durations) + "\n")
    return root


def label(task: str, i: int, rng) -> str:
    """The columns before the ids."""
    if task == "view_count":
        return str(int(np.exp(rng.normal(11.8, 2))) + 1)
    if task == "like_ratio":
        return f"{rng.integers(50, 1000)} {rng.integers(0, 50)}"
    number = i % (3 if task == "writer" else TASKS[task].outputs)
    return f"{number} {NAMES.get(task, [f'{task}_{c}' for c in range(10)])[number]}"
