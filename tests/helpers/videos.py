"""Small real videos whose pixels carry the frame number, for exact checks."""

import contextlib
import os
from fractions import Fraction
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, BITS = 160, 128, 10


def picture(number: int, shot: int, grey: bool = False) -> np.ndarray:
    """Frame `number` of a film: the number as ten black or white blocks above its shot's pattern."""
    rng = np.random.default_rng(shot)
    blocks = rng.integers(0, 256, (7, 10, 1 if grey else 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    frame = np.broadcast_to(blocks, (112, WIDTH, 3))
    bits = [255 if number >> b & 1 else 0 for b in range(BITS)]
    top = np.repeat(np.repeat(np.array(bits, dtype=np.uint8)[None, :, None], 16, 1), 16, 0)  # [16, 160, 1]
    return np.concatenate([np.broadcast_to(top, (16, WIDTH, 3)), frame])


def number_of(frame: np.ndarray) -> int:
    """The number burned into a frame of any size (uint8 [h, w, c])."""
    h, w, _ = frame.shape
    centres = [
        frame[h // 24 : h // 12, int((b + 0.4) * w / BITS) : int((b + 0.7) * w / BITS)] for b in range(BITS)
    ]
    return sum(1 << b for b, centre in enumerate(centres) if centre.mean() > 128)


def render(
    path, shots=(30, 30), codec="libx264", fps=24, gop=12, pts=None, grey=False, pictures=None, audio=False
) -> Path:
    """Write a video of shots of the given lengths; `pts` gives each frame's time in milliseconds."""
    import av

    os.environ.setdefault("SVT_LOG", "0")  # its encoder talks
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _ordinary_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = gop
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=8000) if audio else None
        if pictures is None:
            of_shot = np.repeat(np.arange(len(shots)), shots)
            pictures = [picture(i, int(s), grey) for i, s in enumerate(of_shot)]
        for i, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _sing(container, sound)
    return path


@contextlib.contextmanager
def _ordinary_priority():
    """Takes back the real-time priority that SVT-AV1 gives the thread that calls it, where that is root's.

    Every thread and process started later would inherit it and starve all others on the machine.
    """
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler"):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def render_audio(path) -> Path:
    """An MP4 file with sound and no picture."""
    import av

    with av.open(str(path), "w") as container:
        _sing(container, container.add_stream("aac", rate=8000))
    return Path(path)


def _sing(container, stream) -> None:
    import av

    for i in range(20):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = 8000, i * 1024
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def damage(path, flips: int, seed: int) -> None:
    """Flip bits of a file at random places of its middle, where the frames' data is."""
    data = bytearray(Path(path).read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(len(data) // 5, len(data) * 4 // 5, flips):
        data[at] ^= 1 << int(rng.integers(8))
    Path(path).write_bytes(data)
