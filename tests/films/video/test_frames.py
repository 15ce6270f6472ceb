"""Frames by seeking, where those that no other is built on are left out: the same pixels, fewer decoded."""

import numpy as np
import pytest

from m2s_lib.films.video.frames import open_frames
from tests.helpers.videos import picture, render


def moving(frames: int, every: int) -> list[np.ndarray]:
    """A film that encoders use B-frames for: still patterns, a new one now and then."""
    return [picture(i, i // every) for i in range(frames)]


@pytest.mark.parametrize(
    ("ending", "codec", "fewer"),
    [("mp4", "libx264", True), ("mkv", "libx264", True), ("ts", "libx264", False),
     ("ts", "mpeg2video", False), ("mkv", "mpeg4", False), ("mkv", "libx265", False),
     ("webm", "libvpx-vp9", False)],
)  # fmt: skip
def test_fetched_frames_have_the_pixels_of_reading_through(tmp_path, ending, codec, fewer):
    frames = open_frames(render(tmp_path / f"a.{ending}", pictures=moving(90, 40), codec=codec, gop=30), 96)
    through = list(frames)
    frames.index()
    rng = np.random.default_rng(0)
    for wanted in ([29], [0, 59, 89], rng.choice(90, 20, replace=False).tolist(), list(range(90))):
        before = frames.decoded
        found = frames.fetch(wanted)
        assert sorted(found) == sorted(wanted)
        for i in wanted:
            np.testing.assert_array_equal(found[i], through[i])
        if wanted == [29]:
            assert (frames.decoded - before < 24) == fewer  # of 30
    assert frames.damaged == 0
    assert frames.fetch([]) == {}
    frames.close()
