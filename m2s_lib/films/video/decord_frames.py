"""decord as a reader of frames, to compare with PyAV; video_frames.py says what it gets wrong."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.films.video.av_frames import AvFrames, first_line
from m2s_lib.films.video.cut_screening import LazyPicture


class DecordFrames:
    """The same face on decord, one thread; it cannot see damage (`damaged` stays 0). See `AvFrames`."""

    def __init__(self, path: Path, size: int):
        import decord

        decord.logging.set_level(decord.logging.ERROR)
        header = AvFrames(path, size)  # decord tells the scaled size only
        self.path, self.width, self.height, self.aspect = path, header.width, header.height, header.aspect
        header.close()
        self._errors = (RuntimeError, decord.DECORDError, AssertionError)
        self.decoded = self.damaged = 0
        self.times = np.zeros(0)
        try:
            self._video = decord.VideoReader(str(path), width=size, height=size, num_threads=1)
            self.fps = float(self._video.get_avg_fps())
        except self._errors as error:
            raise M2SError(f"{path.name} is not a video that decord can read: {first_line(error)}") from error

    def close(self) -> None:
        del self._video

    def __iter__(self) -> Iterator[np.ndarray]:
        """Every frame in display order, uint8 [h, w, c] RGB."""
        while self.decoded < len(self._video):
            try:
                frame = self._video.next().asnumpy()
            except (StopIteration, *self._errors) as error:
                raise M2SError(
                    f"{self.path.name} breaks off after {self.decoded} of {len(self._video)} frames: "
                    f"{first_line(error)}"
                ) from error
            self.decoded += 1
            yield frame
        self.index()

    def also(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Refused: decord decodes at one size."""
        if sizes:
            raise M2SError("decord gives one size of pictures: previews and encoders need reader = 'pyav'")

    def pictures(self) -> Iterator[LazyPicture]:
        """The same; decord has scaled them already."""
        for frame in self:
            yield LazyPicture(lambda frame=frame: frame, None, frame.nbytes)

    def index(self) -> np.ndarray:
        """Fill `times` from decord's presentation timestamps; return it."""
        spans = self._video.get_frame_timestamp(np.arange(len(self._video))).astype(np.float64)  # [frames, 2]
        self.times = np.append(spans[:, 0], spans[-1, 1])
        if not (np.diff(self.times) > 0).all():
            raise M2SError(f'{self.path.name}: decord finds no usable timestamps; use reader="pyav"')
        return self.times

    def fetch_pictures(self, indices: Iterable[int]) -> dict[int, LazyPicture]:
        """The frames of these indices as pictures."""
        return {i: LazyPicture(lambda x=x: x, None, x.nbytes) for i, x in self.fetch(indices).items()}

    def fetch(self, indices: Iterable[int]) -> dict[int, np.ndarray]:
        """The frames of these indices: {index: uint8 [h, w, c]}."""
        wanted = sorted(set(indices))
        try:
            frames = self._video.get_batch(wanted).asnumpy()  # [frames, h, w, c]
        except self._errors as error:
            raise M2SError(
                f"{self.path.name}: {len(wanted)} frames cannot be fetched: {first_line(error)}"
            ) from error
        return dict(zip(wanted, frames, strict=True))
