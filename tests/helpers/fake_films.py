"""Small shot stores whose pixels say which film and shot they are."""

import numpy as np


class FakeStore:
    """uint8 [n, k, h, w, 3]: channel 0 is the film's number, 1 the shot, 2 the frame within the shot."""

    has_pixels = True

    def __init__(self, film: int, n: int, k: int = 1, side: int = 4):
        self.n_shots = n
        self._pixels = np.zeros((n, k, side, side, 3), np.uint8)
        self._pixels[..., 0] = film
        self._pixels[..., 1] = np.arange(n)[:, None, None, None]
        self._pixels[..., 2] = np.arange(k)[:, None, None]

    @property
    def frame_shape(self):
        return self._pixels.shape[1:]

    def keyframes(self):
        return self._pixels

    def scene(self, start, n):
        return self._pixels[start : start + n]


class LearnableStore(FakeStore):
    """Shots that look like others of their film, so that a little training finds them."""

    def __init__(self, film: int, n: int, side: int = 32):
        super().__init__(film, n, 1, side)
        rng = np.random.default_rng(film)
        look = rng.integers(0, 256, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1)
        noise = rng.integers(-40, 41, self._pixels.shape)
        self._pixels = np.clip(look + noise, 0, 255).astype(np.uint8)
