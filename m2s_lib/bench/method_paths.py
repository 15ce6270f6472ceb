"""The method's hot paths: movie-pair training, scene mining, the MoCo step, the shot encoder."""

import copy
import itertools

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from m2s_lib.bench.setting import Benchmark, Setting, agree, film_like
from m2s_lib.bench.timing import Work
from m2s_lib.method.greedy import greedy_pairs
from m2s_lib.method.moco import momentum_update
from m2s_lib.method.movie_encoder import MoviePairModel, literal_similarity
from m2s_lib.method.pair_miner import MiningConfig, PairMiner
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.training import ContrastiveConfig, moco_step
from m2s_lib.method.training_run import Run

N_SHOTS = 9


def movie_pairs(setting: Setting) -> Work:
    """One training step of E_movie: forward and backward over film pairs of 1,024 shots."""
    pairs, device = setting.size(8, 1) if setting.device.type == "cpu" else 256, setting.device
    torch.manual_seed(0)
    model = MoviePairModel().to(device).train()
    shots = model.pooling.shots
    x1, x2 = (torch.randn(pairs, shots, 512, device=device) for _ in range(2))
    lengths = torch.full((pairs,), shots, device=device)
    target = torch.arange(pairs, device=device) % 2
    bf16 = device.type == "cuda"

    def literal() -> Tensor:
        v = literal_similarity(model.encoder(x1), model.encoder(x2), model.pooling)[2]
        return model.output(v.flatten(1))

    def step(logits) -> Tensor:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            out = logits()
        F.cross_entropy(out.float(), target).backward()
        return model.encoder.fc1.weight.grad

    def ours() -> Tensor:
        return model(x1, lengths, x2, lengths)

    model.eval()  # without dropout both must give the same gradients
    agree("movie pairs", step(ours), step(literal).clone(), 1e-2 if bf16 else 1e-4)
    model.train()
    read = model.pooling.shots_read
    kind = torch.bfloat16 if bf16 else torch.float32
    x = torch.cat([x1[:, :read], x2[:, :read]]).flatten(0, 1).to(kind)
    weight, h = (
        model.encoder.fc1.weight.detach().to(kind),
        torch.randn(len(x), 512, device=device, dtype=kind),
    )

    def gemms() -> Tensor:
        return x @ weight.T, h.T @ x

    return Work(lambda: step(literal), lambda: step(ours), gemms, per=pairs)


def mining(setting: Setting) -> Work:
    """Film pairs of 1,000 shots to scene pairs, features of the films at hand."""
    rng, device = np.random.default_rng(0), setting.device
    shots, films = setting.size(1000, 120), setting.size(4, 3)
    if device.type == "cuda":
        films = 24
    features = {f"film {i}": film_like(rng, shots) for i in range(films)}
    pairs = list(itertools.combinations(features, 2))
    miner = PairMiner(features, MiningConfig(N_SHOTS, ratio=1.0), device=device)
    some = pairs[:1] if device.type == "cpu" else pairs[:4]

    def script() -> list:
        return [_sort_and_walk(features[a], features[b]) for a, b in some]

    ours = miner.mine(pairs)
    for (a, b), expected in zip(some, script(), strict=True):
        of_pair = ours[(ours["film_a"] == a) & (ours["film_b"] == b)]
        agree("mining", of_pair[["shot_a", "shot_b"]].to_numpy(), np.array(expected), 0)
    scenes = [miner.scenes(film) for film in features]
    buffer = torch.empty(len(scenes[0]), len(scenes[0]), device=device)

    def gemms() -> None:
        for i, j in itertools.combinations(range(films), 2):
            torch.mm(scenes[i], scenes[j].T, out=buffer)

    count = len(pairs)
    return Work(
        lambda: [script() for _ in range(count // len(some))], lambda: miner.mine(pairs), gemms, per=count
    )


def _sort_and_walk(x1: np.ndarray, x2: np.ndarray) -> list[tuple[int, int]]:
    """What a script does: A, its averages over 9 x 9, all windows sorted, and a walk down the list."""
    a = torch.from_numpy(x1) @ torch.from_numpy(x2).T
    return _walk(F.avg_pool2d(a[None], N_SHOTS, 1)[0].numpy())


def greedy(setting: Setting) -> Work:
    """The greedy choice alone, on B of two made-up films of 1,000 shots."""
    shots = setting.size(1000, 120)
    rng = np.random.default_rng(1)
    b = film_like(rng, shots) @ film_like(rng, shots).T
    return _greedy_work(b, _walk)


def greedy_adversarial(setting: Setting) -> Work:
    """The greedy choice where every row wants the same columns, against repeated argmax."""
    shots = setting.size(1000, 120)
    rng = np.random.default_rng(2)
    b = (np.sort(rng.standard_normal(shots))[None] + 1e-3 * rng.standard_normal((shots, shots))).astype(
        np.float32
    )
    return _greedy_work(b, _repeated_argmax)


def _greedy_work(b: np.ndarray, baseline) -> Work:
    ours = np.stack(greedy_pairs(b, N_SHOTS)[:2], 1)
    agree("greedy choice", ours, np.array(baseline(b)), 0)
    return Work(lambda: baseline(b), lambda: greedy_pairs(b, N_SHOTS), lambda: b.argmax(axis=1))


def _walk(b: np.ndarray) -> list[tuple[int, int]]:
    rows, columns, found = np.ones(b.shape[0], bool), np.ones(b.shape[1], bool), []
    for at in np.argsort(-b, axis=None, kind="stable"):
        i, j = divmod(int(at), b.shape[1])
        if rows[i] and columns[j]:
            found.append((i, j))
            rows[max(i - N_SHOTS + 1, 0) : i + N_SHOTS] = False
            columns[max(j - N_SHOTS + 1, 0) : j + N_SHOTS] = False
    return found


def _repeated_argmax(b: np.ndarray) -> list[tuple[int, int]]:
    b, found = b.copy(), []
    while True:
        i, j = divmod(int(b.argmax()), b.shape[1])
        if b[i, j] == -np.inf:
            return found
        found.append((i, j))
        b[max(i - N_SHOTS + 1, 0) : i + N_SHOTS] = -np.inf
        b[:, max(j - N_SHOTS + 1, 0) : j + N_SHOTS] = -np.inf


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


def moco(setting: Setting) -> Work:
    """A MoCo step over scenes of nine shots (577 tokens): both forwards, backward, AdamW, momentum, queue."""
    from lightly.loss import NTXentLoss
    from lightly.models.utils import update_momentum

    device = setting.device
    if device.type == "cuda":
        config, batch, queue = SceneEncoderConfig(), 128, 65_536
    else:
        config = SceneEncoderConfig(width=192, depth=setting.size(6, 2), heads=3)
        batch, queue = setting.size(16, 2), setting.size(4096, 64)
    training = ContrastiveConfig(batch=batch, queue=queue, compile=True, momentum=0.999)
    model = SceneEncoder(config)
    theirs = _TimmScenes(model).to(device).train()
    run = Run(model, training, device)
    their_keys = copy.deepcopy(theirs).requires_grad_(False)
    loss = NTXentLoss(temperature=training.temperature, memory_bank_size=(queue, config.out_dim)).to(device)
    loss.memory_bank.bank = run.queue.keys.clone()
    adam = torch.optim.AdamW(theirs.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    shape = (batch, N_SHOTS, 1, config.image_size, config.image_size, 3)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device) for _ in range(2))
    mask = torch.ones(batch, 1, dtype=torch.bool, device=device)
    bf16 = device.type == "cuda"

    def lightly() -> Tensor:
        update_momentum(theirs, their_keys, m=training.momentum)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            query = theirs(q)
            with torch.no_grad():
                key = their_keys(k)
        value = loss(query.float(), key.float())
        adam.zero_grad()
        value.backward()
        adam.step()
        return value

    def ours() -> Tensor:
        out = moco_step(run, q, k[:, None], mask)
        run.optimizer.zero_grad()
        out.loss.backward()
        run.optimizer.step()
        run.queue.enqueue(out.k.detach())
        return out.loss

    agree("MoCo step", ours(), lightly(), 5e-2 if bf16 else 1e-3)
    return Work(lightly, ours, _bare_products(config, batch, device))


def _bare_products(config: SceneEncoderConfig, batch: int, device: torch.device):
    """The matrix products of a step without anything else: two forwards and a backward of the linear layers
    (a backward is twice a forward)."""
    tokens = N_SHOTS * (config.image_size // config.patch) ** 2 + 1
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    d, rows = config.width, batch * tokens
    x, wide = (torch.randn(rows, n, device=device, dtype=kind) for n in (d, 4 * d))
    layers = [(x, 3 * d), (x, d), (x, 4 * d), (wide, d)]
    weights = [torch.randn(a.shape[1], n, device=device, dtype=kind) for a, n in layers]

    def products() -> None:
        for _ in range(4 * config.depth):
            for (a, _n), w in zip(layers, weights, strict=True):
                a @ w

    return products


def momentum(setting: Setting) -> Work:
    """The key encoder's running average over 86 million parameters, against MoCo's loop."""
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
    """E_shot over keyframes that are on the device as uint8, against timm's forward of normalised floats."""
    device = setting.device
    if device.type == "cuda":
        config, batch = ShotEncoderConfig(), 4096
    else:
        config, batch = ShotEncoderConfig.preset("tiny"), setting.size(256, 8)
    encoder = ShotEncoder(config).to(device).eval()
    theirs = copy.deepcopy(encoder.backbone).to(device).eval()
    bf16 = device.type == "cuda"
    shape = (batch, 1, config.image_size, config.image_size, 3)
    shots = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shots = shots.to(device)
    compiled = torch.compile(encoder.token) if bf16 else encoder.token

    @torch.inference_mode()
    def timm() -> Tensor:
        image = ((shots[:, 0].float() / 255 - 0.5) / 0.5).movedim(-1, 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return theirs.forward_features(image)[:, 0].float()

    @torch.inference_mode()
    def ours() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return compiled(shots).float()

    agree("shot encoder", ours(), timm(), 0.1 if bf16 else 1e-3)
    return Work(timm, ours, per=batch)


NAN = float("nan")
BENCHMARKS = [
    Benchmark("movie pair step", "film pair", "A, avg_pool2d, max_pool2d", movie_pairs, (3, 1.8), (4, NAN)),
    Benchmark("scene mining", "film pair", "A, avg_pool2d, argsort, walk", mining, (40, 1.3), (40, NAN)),
    Benchmark("greedy choice", "film pair", "argsort, walk", greedy, (40, NAN)),
    Benchmark("greedy choice, adversarial", "film pair", "repeated argmax", greedy_adversarial, (0.67, NAN)),
    Benchmark("MoCo step", "step", "lightly with timm's ViT", moco, (1.15, NAN), (1.5, 1.6)),
    Benchmark("momentum update", "update", "MoCo's loop over parameters", momentum, (NAN, NAN), (NAN, NAN)),
    Benchmark("shot encoder", "shot", "timm's forward, float pixels", shot_encoder, (NAN, NAN), (NAN, NAN)),
]  # fmt: skip
