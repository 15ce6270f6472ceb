"""Frames of one video file with PyAV: all of them once, in display order, or a few exactly.

Damage shows where the codec carries redundancy (H.264, MPEG-2, MPEG-4: nearly every flipped bit in tests);
VP8, VP9 and HEVC decode flipped bits to pictures, and no reader here can know.
"""

import bisect
import contextlib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.films.video.cut_screening import LazyPicture
from m2s_lib.films.video.frame_scaler import FrameScaler

# A text file with a video's name can be a playlist that makes FFmpeg open other files: only containers.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,flv,asf,ogg"
_BROADCAST = ("mpegts", "mpeg")  # recordings begin anywhere, so frames before the first key frame are broken
_SKIPPING = ("h264", "mpeg2video", "mpeg4")  # their decoders know which frames no other is built on
# frames; after a broken frame the next key frame heals, and encoders put one at least this often
_DAMAGE_LASTS = 250


class AvFrames:
    """A video read with PyAV in one thread.

    Attributes:
        width, height: stored picture in pixels. aspect: displayed width / height, pixel shape included.
        fps: average frame rate that the container names.
        times: float64 [frames + 1], start of each frame and end of the last, in seconds as a
            player shows them; filled by a complete iteration or by `index`.
        decoded, damaged: frames so far, and how many are wrong (concealed, lost, or built on such).
    """

    def __init__(self, path: Path, size: int):
        self.path, self.size = path, size
        self.decoded = self.damaged = self._poisoned = 0
        self.times = np.zeros(0)
        self._pts: list[int | None] = []  # of each frame, in display order
        self._keys: list[int] = []  # pts at which decoding can start
        self._used = self._skips = False
        self._open()
        context, shape = self._stream.codec_context, self._stream.sample_aspect_ratio
        rate = self._stream.average_rate or self._stream.guessed_rate or self._stream.base_rate
        self.fps = float(rate) if rate else 0.0
        self.width, self.height = context.width, context.height
        self.aspect = self.width / max(self.height, 1) * (float(shape) if shape else 1.0)

    def _open(self) -> None:
        import av
        from av.stream import Disposition

        self._error = av.FFmpegError
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        try:
            self._container = av.open(str(self.path), options=options, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise M2SError(
                f"{self.path.name} is not a video that can be read: {first_line(error)}"
            ) from error
        stream = self._container.streams.best("video")
        if stream is None or stream.disposition & Disposition.attached_pic:  # a cover picture is no film
            kinds = ", ".join(sorted(s.type for s in self._container.streams)) or "none"
            self.close()
            raise M2SError(f"{self.path.name} has no video stream (its streams: {kinds})")
        stream.thread_type = "NONE"  # one process per film: more threads would only share its core
        self._stream, self._scaler = stream, FrameScaler(self.size)

    def close(self) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Every frame in display order, uint8 [h, w, c] RGB. M2SError where the file ends or breaks early."""
        for picture in self.pictures():
            yield picture.small()

    def pictures(self) -> Iterator[LazyPicture]:
        """Every frame in display order, not yet scaled."""
        self._start_again()
        self._pts, self._keys, self._skips = [], [], False
        last = 0
        for frame in self._decode():
            self._pts.append(frame.pts)
            if frame.key_frame and frame.pts is not None:
                self._keys.append(frame.pts)
            last = frame.duration
            yield self._scaler.lazily(frame)
        if not self.decoded:
            raise M2SError(
                f"{self.path.name}: no frame could be decoded ({self.damaged} packets were refused)"
            )
        if self._unstamped or self._container.format.name == "avi":  # only the decoding order is written down
            slots = [p for p in self._pts if p is not None] + self._unstamped
            self._pts = sorted(set(slots))[: self.decoded] if len(set(slots)) >= self.decoded else []
            self._keys = []
        self._set_times(last)

    def _decode(self, wanted: Container[int] | None = None) -> Iterator:
        """PyAV frames from where the container stands, counting what is damaged.

        wanted: presentation stamps; of the other frames only those are decoded that others are built on.
        """
        self._unstamped: list[int] = []  # decoding times of packets without presentation time
        clean = self._container.format.name not in _BROADCAST
        try:
            for packet in self._container.demux(self._stream):
                if wanted is not None:
                    asked = packet.pts in wanted or not packet.size
                    self._stream.codec_context.skip_frame = "DEFAULT" if asked else "NONREF"
                if packet.size and packet.pts is None and packet.dts is not None:
                    self._unstamped.append(packet.dts)
                try:
                    frames = packet.decode()
                except self._error:
                    self.damaged, self._poisoned = self.damaged + 1, _DAMAGE_LASTS
                    continue
                for frame in frames:
                    broken = frame.is_corrupt
                    clean = clean or not broken
                    self._count(broken and clean, frame.key_frame)
                    yield frame
        except self._error as error:
            raise M2SError(
                f"{self.path.name} breaks off after {self.decoded} frames: {first_line(error)}"
            ) from error

    def _count(self, broken: bool, key: bool) -> None:
        self.decoded += 1
        if broken:
            self._poisoned = _DAMAGE_LASTS
        elif key:
            self._poisoned = 0
        if self._poisoned:
            self._poisoned -= 1
            self.damaged += 1

    def index(self) -> np.ndarray:
        """Fill `times` from the packets, without decoding where the container allows it; return it."""
        self._start_again()
        packets = [p for p in self._container.demux(self._stream) if p.size and not p.is_discard]
        stamps = sorted(p.pts for p in packets if p.pts is not None)
        # VP8 has packets that show nothing, and fields can be packets of their own: then one has
        # to decode to count frames
        sure = len(set(stamps)) == len(packets) > 0
        sure = sure and self._stream.codec_context.name != "vp8" and self._container.format.name != "avi"
        if not sure:
            for _ in self:
                pass
            return self.times
        self._skips = self._stream.codec_context.name in _SKIPPING
        self._pts, self._keys = list(stamps), sorted(p.pts for p in packets if p.is_keyframe)
        self._set_times(max(packets, key=lambda p: p.pts).duration)
        return self.times

    def _set_times(self, last_duration: int | None) -> None:
        """`times` from the presentation stamps, and the check that the stream is as long as it says."""
        if not self._pts or any(p is None for p in self._pts):
            raise M2SError(
                f"{self.path.name} has frames without timestamps: remux it (ffmpeg -i IN -c copy OUT.mkv)"
            )
        base = float(self._stream.time_base)
        stamps = np.asarray(self._pts, dtype=np.float64) * base
        step = (last_duration or 0) * base or 1 / (self.fps or 25.0)
        stamps = np.append(stamps, stamps[-1] + step)  # [frames + 1]
        jumps = np.diff(stamps) <= 0  # clocks of joined broadcasts restart: time goes on from there
        if jumps.any():
            steps = np.where(jumps, step, np.diff(stamps))
            stamps = np.concatenate([stamps[:1], stamps[0] + np.cumsum(steps)])
        announced = float(self._stream.duration or 0) * base
        if stamps[-1] - stamps[0] < min(announced * 0.98, announced - 1.0):
            raise M2SError(
                f"{self.path.name} ends after {stamps[-1] - stamps[0]:.1f} s of the {announced:.1f} s that "
                f"it announces ({len(self._pts):,} frames): copy or download it again"
            )
        self.times = stamps - (self._container.start_time or 0) / 1e6

    def fetch(self, indices: Iterable[int]) -> dict[int, np.ndarray]:
        """The frames of these indices, exactly: {index: uint8 [h, w, c]}. Needs a filled `times`."""
        wanted = {self._pts[i]: i for i in indices}
        found: dict[int, np.ndarray] = {}
        if not wanted:
            return found
        self._start_again()
        ordered = bool(self._keys) and (np.diff(self._pts) > 0).all()
        for back in (
            (1, 2) if ordered else ()
        ):  # frames that lead an open GOP need the key frame before theirs
            groups: dict[int, dict[int, int]] = {}
            for pts, i in wanted.items():
                if i not in found:
                    place = max(bisect.bisect_right(self._keys, pts) - back, 0)
                    groups.setdefault(place, {})[pts] = i
            for place in sorted(groups):
                self._fetch_from(self._keys[place], groups[place], found, skip=self._skips and back == 1)
        rest = {i for i in wanted.values() if i not in found}
        if rest:
            self._start_again()
            for i, frame in enumerate(self._decode()):
                if i in rest:
                    found[i] = self._scaler.small(frame)
        if lost := sorted(set(wanted.values()) - set(found)):
            raise M2SError(f"{self.path.name}: frame {lost[0]} of {len(self._pts):,} cannot be decoded")
        return found

    def keys(self) -> np.ndarray:
        """Indices of the frames at which decoding can start, int64, ascending. Needs a filled `times`."""
        place = {pts: i for i, pts in enumerate(self._pts)}
        return np.array(sorted(place[k] for k in self._keys if k in place), dtype=np.int64)

    def fetch_keys(self, indices: Iterable[int]) -> dict[int, np.ndarray]:
        """The frames of these indices, which are of `keys`, decoding key pictures only; those that do not
        come out whole are left out."""
        wanted = {self._pts[i]: i for i in indices}
        found: dict[int, np.ndarray] = {}
        if not wanted:
            return found
        self._start_again()
        self._stream.codec_context.skip_frame = "NONKEY"
        with contextlib.suppress(self._error):
            for packet in self._container.demux(self._stream):
                if packet.size and not (packet.is_keyframe and packet.pts in wanted):
                    continue
                with contextlib.suppress(self._error):
                    for frame in packet.decode():
                        if frame.pts in wanted and not frame.is_corrupt:
                            found[wanted[frame.pts]] = self._scaler.small(frame)
                if len(found) == len(wanted):
                    break
        return found

    def _fetch_from(self, key: int, wanted: dict[int, int], found: dict[int, np.ndarray], skip: bool) -> None:
        """Add to `found` what of `wanted` (pts -> index) decodes cleanly from the key frame at pts `key`.

        skip: leave out frames that no other is built on.
        """
        last = max(wanted)
        self._stream.codec_context.skip_frame = "DEFAULT"
        with contextlib.suppress(self._error):
            self._container.seek(key, stream=self._stream)
            for frame in self._decode(wanted if skip else None):
                if frame.pts in wanted and not frame.is_corrupt:
                    found[wanted[frame.pts]] = self._scaler.small(frame)
                if frame.pts is not None and frame.pts >= last:
                    return

    def _start_again(self) -> None:
        """A fresh container: seeking to the start misses the first frames of some formats."""
        if self._used:
            self.close()
            self._open()
        self._used = True


def first_line(error: BaseException) -> str:
    """The first line of what a decoder said, without its stack."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
