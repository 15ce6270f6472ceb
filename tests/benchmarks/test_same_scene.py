"""Same-scene retrieval against a count by hand."""

import numpy as np
import pytest

from benchmarks.same_scene import same_scene


def test_by_hand():
    scene = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    perfect = (scene[:, None] == scene).astype(float)
    assert same_scene(perfect, scene) == pytest.approx(1.0)
    # shots 0, 4, 5 and 9 have one other shot of their scene more than three away; of 6, 3, 3 and 6 ranked ones
    # it comes last
    assert same_scene(-perfect, scene) == pytest.approx((1 / 6 + 1 / 3 + 1 / 3 + 1 / 6) / 4)
