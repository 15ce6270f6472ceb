"""Films of made-up features in OVSD's layout, and what a run's first notebook is told of them."""

from pathlib import Path

import numpy as np


def write_feature_films(folder: Path, shots: list[int], metadata: str = "") -> dict:
    """Writes films of these lengths, named 00, 01 and so on, and a metadata table if one is given.

    Returns:
        Parameters of notebook 01.
    """
    rng, films = np.random.default_rng(0), folder / "films"
    for number, n in enumerate(shots):
        film = films / f"{number:02d}"
        film.mkdir(parents=True)
        (film / "name.txt").write_text(f"Film {number}\n")
        (film / "shots.txt").write_text("".join(f"{10 * i} {10 * i + 8}\n" for i in range(n)))
        np.save(film / "features_vgg19.npy", rng.random((n, 512), dtype=np.float32))
    table = folder / "metadata.csv"
    if metadata:
        table.write_text(metadata)
    return {
        "films_dir": str(films), "metadata": str(table) if metadata else "", "source": "features",
        "lvu_dir": "", "movienet_split": "",
    }  # fmt: skip
