"""The encoders' hot paths: the MoCo step, training from disk, the momentum update, the shot encoder."""

import copy
import time

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from benchmarks.setting import NONE, Benchmark, Setting, agree
from benchmarks.timing import Work
from m2s_lib.films.store.shot_store import open_stores, write_shots
from m2s_lib.method.moco import info_nce, momentum_update
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.training.config import ContrastiveConfig
from m2s_lib.training.reading import read_batches
from m2s_lib.training.training import Training

N_SHOTS = 9


class _TimmScenes(nn.Module):
    """A scene encoder as one would write it with timm: float pixels, normalised, the model's own forward."""

    def __init__(self, ours: SceneEncoder):
        super().__init__()
        self.vit: VisionTransformer = copy.deepcopy(ours.backbone)
        self.fc = copy.deepcopy(ours.fc)

    def forward(self, scenes: Tensor) -> Tensor:
        frames = (scenes.flatten(1, 2).float() / 255 - 0.5) / 0.5  # [b, f, h, w, c]
        image = frames.flatten(1, 2).movedim(-1, 1)  # [b, c, f h, w]
        return self.fc(self.vit.forward_features(image)[:, 0])


def _scene_training(setting: Setting) -> tuple[SceneEncoderConfig, ContrastiveConfig]:
    """The paper's at full size on the GPU (ViT-B/16, batch 128, K = 65,536, compiled); small on the CPU."""
    if setting.gpu and not setting.small:
        encoder, batch, queue = SceneEncoderConfig(), 128, 65_536
    else:
        side = setting.size(128, 32)
        encoder = SceneEncoderConfig(width=192, depth=setting.size(6, 2), heads=3, image_size=side)
        batch, queue = setting.size(16, 2), setting.size(4096, 64)
    config = ContrastiveConfig(batch=batch, queue=queue, compile=True, precision="auto")
    return encoder, config


def _one_step(run: Training, query: Tensor, key: Tensor, film_pair: Tensor) -> Tensor:
    """What the loop of 04 does with a batch: momentum, both forwards, loss, backward, AdamW, queue."""
    momentum_update(run.f, run.g, run.config.momentum)
    q = F.normalize(run.f(query), dim=-1)  # [b, d]
    with torch.no_grad():
        k_0 = F.normalize(run.g(key), dim=-1)  # [b, d]
    loss, *_ = info_nce(q, k_0, run.queue.negatives(), run.config.temperature)
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    run.queue.enqueue(k_0, film_pair)
    return loss.detach()


def _scenes(config: SceneEncoderConfig, batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys of random pixels, and their film pairs, on the device."""
    shape = (batch, N_SHOTS, 1, config.image_size, config.image_size, 3)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device) for _ in range(2))
    return q, k, torch.arange(batch, device=device)


def moco(setting: Setting) -> Work:
    """A MoCo step over scenes of nine shots (577 tokens): both forwards, backward, AdamW, momentum, queue.

    On CUDA lightly runs eagerly under bf16 autocast, ours compiled. The floor is the products of the linear
    layers alone.
    """
    from lightly.loss import NTXentLoss
    from lightly.models.utils import update_momentum

    device, (config, training) = setting.device, _scene_training(setting)
    model = SceneEncoder(config)
    theirs = _TimmScenes(model).to(device).train()
    run = Training(model, None, training, device=device)
    their_keys = copy.deepcopy(theirs).requires_grad_(False)
    size = (training.queue, config.out_dim)
    loss = NTXentLoss(temperature=training.temperature, memory_bank_size=size).to(device)
    loss.memory_bank.bank = run.queue.keys.clone()
    adam = torch.optim.AdamW(theirs.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    q, key, film_pair = _scenes(config, training.batch, device)

    def lightly() -> Tensor:
        update_momentum(theirs, their_keys, m=training.momentum)
        with setting.bf16():
            query = theirs(q)
            with torch.no_grad():
                k = their_keys(key)
        value = loss(query.float(), k.float())
        adam.zero_grad()
        value.backward()
        adam.step()
        return value.detach()

    agree("MoCo step", _one_step(run, q, key, film_pair), lightly(), 0.1 if setting.gpu else 1e-3)
    floor = _bare_products(config, training.batch, setting)
    return Work(lightly, lambda: _one_step(run, q, key, film_pair), floor)


def _bare_products(config: SceneEncoderConfig, batch: int, setting: Setting):
    """The matrix products of a step without anything else: two forwards and a backward of the linear layers
    (a backward is twice a forward)."""
    tokens = N_SHOTS * (config.image_size // config.patch) ** 2 + 1
    how = {"device": setting.device, "dtype": torch.bfloat16 if setting.gpu else torch.float32}
    d, rows = config.width, batch * tokens
    x, wide = (torch.randn(rows, n, **how) for n in (d, 4 * d))
    layers = [(x, 3 * d), (x, d), (x, 4 * d), (wide, d)]
    weights = [torch.randn(a.shape[1], n, **how) for a, n in layers]

    def products() -> None:
        for _ in range(4 * config.depth):
            for (a, _n), w in zip(layers, weights, strict=True):
                a @ w

    return products


def from_disk(setting: Setting) -> Work:
    """MoCo steps whose batches the training loop's own reader brings from raw shot stores, against the same
    steps on a batch that is at hand.

    Its turns also give the share of the time that steps wait for data: the device is waited for before and
    after each batch is asked for, so that neither hides in the other. The first batch, before which nothing
    can be read ahead, is in the seconds but not in that share: an epoch has one. The files were just written,
    so they come from the page cache; the paper's corpus would be 1.6 TB, read at 0.9 GB/s.
    """
    device, (encoder, config) = setting.device, _scene_training(setting)
    steps, films, shots = setting.size(24, 2), setting.size(16, 2), setting.size(1000, 20)
    pairs = _pairs_on_disk(setting, films, shots, steps * config.batch, encoder.image_size)
    run = Training(SceneEncoder(encoder), None, config, device=device)
    at_hand, shares = _scenes(encoder, config.batch, device), []

    def same_batch() -> None:
        for _ in range(steps):
            _one_step(run, *at_hand)

    def reading() -> None:
        waited, batches = 0.0, _batches(pairs, config, device)
        batch = next(batches)
        _wait_for(device)
        start = time.perf_counter()
        while batch is not None:
            _one_step(run, *batch[1])
            _wait_for(device)
            asked = time.perf_counter()
            batch = next(batches, None)
            _wait_for(device)
            waited += time.perf_counter() - asked
        shares.append(waited / (time.perf_counter() - start))

    _check_batches(pairs, config, device)
    _one_step(run, *at_hand)  # compiles
    return Work(same_batch, reading, per=steps, wait=lambda: float(np.median(shares)))


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _pairs_on_disk(setting: Setting, films: int, shots: int, count: int, side: int) -> ScenePairs:
    """Scene pairs of random films over raw stores that are read as needed, never held."""
    folder, rng = setting.folder / "raw stores", np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    at = np.arange(shots)
    table = pd.DataFrame({"shot": at, "start_frame": 24 * at, "end_frame": 24 * at + 23,
                          "start_s": at * 1.0, "end_s": at + 1.0})  # fmt: skip
    names = [f"film{i}" for i in range(films)]
    for name in names:
        pictures = rng.integers(0, 256, (shots, 1, side, side, 3), dtype=np.uint8)
        write_shots(folder / f"{name}.arrow", table, pictures, aspect=16 / 9, fps=24.0, source="video")
    of, start = rng.integers(0, films, (count, 2)), rng.integers(0, shots - N_SHOTS + 1, (count, 2))
    pairs = pd.DataFrame({"film_a": [names[i] for i in of[:, 0]], "film_b": [names[i] for i in of[:, 1]],
                          "shot_a": start[:, 0], "shot_b": start[:, 1], "n_shots": N_SHOTS})  # fmt: skip
    return ScenePairs(pairs, open_stores(folder), resident_bytes=0)


def _batches(pairs: ScenePairs, config: ContrastiveConfig, device: torch.device):
    """The first epoch, as a training reads it."""
    return read_batches(pairs, config, config.batch, 0, range(len(pairs) // config.batch), device)


def _check_batches(pairs: ScenePairs, config: ContrastiveConfig, device: torch.device) -> None:
    """The reader brings every pair once: the order is a permutation and pixels are those of the store."""
    order = np.random.default_rng((config.seed, 0)).permutation(len(pairs))[: config.batch]
    expected = pairs.batch(order, np.random.default_rng((config.seed, 0, 0)))
    found = _batches(pairs, config, device)
    for ours, theirs in zip(next(found)[1], expected, strict=True):
        agree("training from disk", ours, theirs)
    found.close()


def momentum(setting: Setting) -> Work:
    """The key encoder's running average over 86 million parameters, against MoCo's loop; the floor is a
    copy."""
    width = setting.size(768, 64)
    config = SceneEncoderConfig(width=width, depth=setting.size(12, 2), heads=width // 64)
    query = SceneEncoder(config).to(setting.device)
    key, other = copy.deepcopy(query), copy.deepcopy(query)
    for p in query.parameters():
        p.data.add_(0.1)

    @torch.no_grad()
    def loop() -> None:
        for k, q in zip(other.parameters(), query.parameters(), strict=True):
            k.data = k.data * 0.999 + q.data * (1.0 - 0.999)

    def ours() -> None:
        momentum_update(query, key, 0.999)

    loop(), ours()
    agree("momentum", key.fc.weight, other.fc.weight, 1e-6)
    flat = [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (query, key)]
    return Work(loop, ours, lambda: flat[1].copy_(flat[0]))


def shot_encoder(setting: Setting) -> Work:
    """E_shot's features of keyframes that are on the device as uint8, against timm's forward of normalised
    floats; on CUDA ViT-B/16 in bf16, ours compiled."""
    device, large = setting.device, setting.gpu and not setting.small
    config = ShotEncoderConfig() if large else ShotEncoderConfig.preset("tiny")
    batch = setting.size(256, 8, gpu=4096)
    encoder = ShotEncoder(config).to(device).eval()
    theirs = copy.deepcopy(encoder)
    shape = (batch, 1, config.image_size, config.image_size, 3)
    shots = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shots = shots.to(device)
    embed = torch.compile(encoder.embed) if device.type == "cuda" else encoder.embed

    @torch.no_grad()
    def timm() -> Tensor:
        image = ((shots[:, 0].float() / 255 - 0.5) / 0.5).movedim(-1, 1)
        with setting.bf16():
            features = theirs.fc(theirs.backbone.forward_features(image)[:, 0])
        return F.normalize(features.float(), dim=-1)

    @torch.no_grad()
    def ours() -> Tensor:
        with setting.bf16():
            return embed(shots)

    agree("shot encoder", ours(), timm(), 0.03 if setting.gpu else 1e-4)
    return Work(timm, ours, per=batch)


BENCHMARKS = [
    Benchmark("MoCo step", "step", "lightly with timm's ViT", moco, (1.15,), (1.5, 1.6, 0.126)),
    Benchmark("training from disk", "step", "the same steps, data at hand", from_disk,
              None, (NONE, NONE, NONE, 0.02)),
    Benchmark("momentum update", "update", "MoCo's loop over parameters", momentum, (), ()),
    Benchmark("shot encoder", "shot", "timm's forward, float pixels", shot_encoder,
              (), (NONE, NONE, 1 / 30_000)),
]  # fmt: skip
