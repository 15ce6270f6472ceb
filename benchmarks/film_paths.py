"""Films: keyframes, one pass for cuts and keyframes, scenes for training."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.setting import Benchmark, Setting, agree
from benchmarks.timing import Work
from m2s_lib.films.store.shot_store import open_stores, write_shots
from m2s_lib.films.video.decoding import ScanConfig, keyframe_positions, scan_film
from m2s_lib.method.scene_encoder import ScenePairs

BITS = 12  # a frame's number, as blocks along its upper edge
SHOT = 96  # frames in a shot of the made-up film
SIDE = 128  # pixels of a keyframe


def _film(setting: Setting) -> tuple[str, pd.DataFrame]:
    return made_up_film(setting.folder, setting.size(24, 4), *((320, 180) if setting.small else (854, 480)))


def made_up_film(folder: Path, shots: int, width: int, height: int) -> tuple[str, pd.DataFrame]:
    """A film of shots, each with a moving pattern of its own and every frame's number in its pixels: H.264, a
    key picture at least every 250 frames; made once. Its path and its shots."""
    import av

    path = folder / f"film-{shots}-{width}.mp4"
    if not path.is_file():
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=24, options={"crf": "23", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.gop_size = 250
            for shot in range(shots):
                pattern = _pattern(np.random.default_rng(shot), width + 2 * SHOT, height)
                for i in range(SHOT):
                    picture = pattern[:, 2 * i : 2 * i + width].copy()
                    _write_number(picture, shot * SHOT + i)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    first = np.arange(shots) * SHOT
    return str(path), pd.DataFrame({"start_frame": first, "end_frame": first + SHOT - 1})


def _pattern(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Smooth colours with some grain, as pictures have: uint8 [height, width, 3]."""
    coarse = rng.integers(40, 216, (height // 60 + 2, width // 60 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.normal(0, 6, (height, width, 1)).astype(np.int16)
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def _write_number(picture: np.ndarray, number: int) -> None:
    h, w, _ = picture.shape
    for bit in range(BITS):
        picture[: h // 12, bit * w // BITS : (bit + 1) * w // BITS] = 255 * (number >> bit & 1)


def _number(picture: np.ndarray) -> int:
    h, w, _ = picture.shape
    top = picture[h // 36 : h // 18]
    blocks = [top[:, int((b + 0.35) * w / BITS) : int((b + 0.65) * w / BITS)] for b in range(BITS)]
    return sum(1 << b for b, block in enumerate(blocks) if block.mean() > 128)


def keyframes_middle(setting: Setting) -> Work:
    """The middle frame of every shot of a known shot table, exactly."""
    path, shots = _film(setting)
    wanted = [keyframe_positions(a, b, 1)[0] for a, b in shots.to_numpy()]
    config = ScanConfig(frame_size=SIDE)
    found = scan_film(path, config, shots).keyframes
    agree("keyframes", [_number(f[0]) for f in found], wanted)
    agree("keyframes, decord", [_number(f) for f in _decord_loop(path, wanted)], wanted)
    return Work(lambda: _decord_loop(path, wanted), lambda: scan_film(path, config, shots), per=len(wanted))


def keyframes_codec(setting: Setting) -> Work:
    """The stream's own key picture inside every shot of a known shot table."""
    path, shots = _film(setting)
    wanted = [keyframe_positions(a, b, 1)[0] for a, b in shots.to_numpy()]
    config = ScanConfig(frame_size=SIDE, keyframe="codec")
    numbers = np.array([_number(f[0]) for f in scan_film(path, config, shots).keyframes])
    bounds = shots.to_numpy()
    agree("codec keyframes", np.clip(numbers, bounds[:, 0], bounds[:, 1]), numbers)
    return Work(lambda: _decord_loop(path, wanted), lambda: scan_film(path, config, shots), per=len(wanted))


def _decord_loop(path: str, wanted: list[int]) -> list[np.ndarray]:
    """What a script does: decord, one frame after the other, PIL for the size."""
    from decord import VideoReader

    reader = VideoReader(path, num_threads=1)
    return [np.asarray(Image.fromarray(reader[i].asnumpy()).resize((SIDE, SIDE))) for i in wanted]


def whole_film(setting: Setting) -> Work:
    """Cuts and keyframes of a film without a shot table; the floor is a bare decord pass over the same file:
    one thread, every frame at its own size, nothing done with it."""
    from decord import VideoReader

    path, shots = _film(setting)
    config = ScanConfig(frame_size=SIDE)
    agree("whole film", scan_film(path, config).shots["start_frame"], shots["start_frame"])

    def two_passes() -> None:
        from scenedetect import AdaptiveDetector, detect

        cuts = detect(path, AdaptiveDetector(), backend="pyav")
        _decord_loop(path, [(a.frame_num + b.frame_num) // 2 for a, b in cuts])

    def decode_only() -> None:
        reader = VideoReader(path, num_threads=1)
        for _ in range(len(reader)):
            reader.next()

    return Work(two_passes, lambda: scan_film(path, config), decode_only, per=len(shots) * SHOT)


def scene_loading(setting: Setting) -> Work:
    """Pairs of scenes of nine shots as a training batch, from the shot stores; the floor is one copy."""
    from torchvision import transforms

    films, shots, batch = setting.size(8, 2), setting.size(200, 30), setting.size(64, 4)
    folder, rng = setting.folder / f"stores-{films}-{shots}", np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    names = [f"film{i}" for i in range(films)]
    bounds = np.arange(shots)
    table = pd.DataFrame({"shot": bounds, "start_frame": bounds * 24, "end_frame": bounds * 24 + 23,
                          "start_s": bounds * 1.0, "end_s": bounds + 1.0})  # fmt: skip
    jpeg: dict[tuple[str, int], bytes] = {}
    for name in names:
        pictures = np.stack([_pattern(rng, SIDE, SIDE) for _ in range(shots)])[:, None]
        write_shots(folder / f"{name}.arrow", table, pictures, aspect=16 / 9, fps=24.0, source="video")
        for shot in bounds:
            out = io.BytesIO()
            Image.fromarray(pictures[shot, 0]).save(out, "JPEG", quality=90)
            jpeg[name, int(shot)] = out.getvalue()
    starts = rng.integers(0, shots - 8, (4 * batch, 2))
    of = rng.integers(0, films, (4 * batch, 2))
    pairs = pd.DataFrame({"film_a": [names[i] for i in of[:, 0]], "film_b": [names[i] for i in of[:, 1]],
                          "shot_a": starts[:, 0], "shot_b": starts[:, 1], "n_shots": 9})  # fmt: skip
    source = ScenePairs(pairs, open_stores(folder))
    which = np.arange(batch)
    standard = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    )  # no augmentation, as the paper

    def one_by_one() -> torch.Tensor:
        scenes = []
        for row in pairs.iloc[which].itertuples():
            for film, start in ((row.film_a, row.shot_a), (row.film_b, row.shot_b)):
                images = [Image.open(io.BytesIO(jpeg[film, start + i])).convert("RGB") for i in range(9)]
                scenes.append(torch.stack([standard(image) for image in images]))
        return torch.stack(scenes)

    def ours() -> tuple:
        return source.batch(which, np.random.default_rng(0))

    query, keys, _ = ours()
    ordered = torch.stack([query, keys], 1).sort(dim=1).values  # which film asks is drawn
    theirs = ((one_by_one().movedim(2, -1) * 0.5 + 0.5) * 255).unflatten(0, (batch, 2)).sort(dim=1).values
    off = (ordered[..., 0, :, :, :].float() - theirs.float()).abs().mean()
    agree("scene loading (JPEG's mean error)", off, 0.0, 12.0)
    source_pixels = torch.cat([query.flatten(), keys.flatten()])
    return Work(one_by_one, ours, lambda: source_pixels.clone(), per=2 * 9 * batch)


def reading_windows(setting: Setting) -> Work:
    """Windows of four shots for scene boundaries, from features on disk, against a file for each shot."""
    from m2s_lib.evaluation.movienet.shot_windows import LabelledFilm, ShotWindows

    shots, d = setting.size(2000, 50), 768
    folder = setting.folder / f"per-shot-{shots}"
    folder.mkdir(exist_ok=True)
    x = np.random.default_rng(0).standard_normal((shots, d)).astype(np.float32)
    for i in range(shots):
        np.save(folder / f"{i:05d}.npy", x[i])
    whole = os.fspath(setting.folder / f"features-{shots}.npy")
    np.save(whole, x)
    bounds = np.stack([np.arange(shots), np.arange(shots)], 1)
    film = LabelledFilm("film", bounds, np.r_[np.zeros(shots - 1, np.int8), np.int8(-1)])
    edge = np.clip(np.arange(shots - 1)[:, None] + np.arange(-1, 3), 0, shots - 1)  # [boundaries, 4]

    def per_shot() -> np.ndarray:
        return np.stack([np.concatenate([np.load(folder / f"{i:05d}.npy") for i in row]) for row in edge])

    def ours() -> np.ndarray:
        return np.asarray(ShotWindows([film], {"film": np.load(whole)}))

    agree("windows of four shots", ours(), per_shot())
    return Work(per_shot, ours, lambda: np.load(whole), per=shots - 1)


NAN = float("nan")
DECORD = "decord frame by frame, PIL"
BENCHMARKS = [
    Benchmark("keyframes, middle", "shot", DECORD, keyframes_middle, (1.4, NAN)),
    Benchmark("keyframes, codec", "shot", DECORD, keyframes_codec, (3, NAN)),
    Benchmark("cuts and keyframes", "frame", "PySceneDetect, then decord", whole_film, (NAN, 1.15)),
    Benchmark("scene loading", "image", "JPEG, PIL, torchvision", scene_loading, (50, NAN)),
    Benchmark("windows of four shots", "window", "a .npy file for each shot", reading_windows, (20, NAN)),
]
