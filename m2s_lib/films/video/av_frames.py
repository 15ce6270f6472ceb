"""Frames of one video file with PyAV: all of them once, in display order, or a few exactly.

Damage shows where the codec carries redundancy (H.264, MPEG-2, MPEG-4: nearly every flipped bit in tests);
VP8, VP9 and HEVC decode flipped bits to pictures, and no reader here can know.
"""

import bisect
import contextlib
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.films.video.cut_screening import LazyPicture
from m2s_lib.films.video.frame_scaler import FrameScaler
from m2s_lib.films.video.timeline import LEAP_S, frame_times, leaps, off_stamps

# A text file with a video's name can be a playlist that makes FFmpeg open other files: only containers.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,flv,asf,ogg"
_BROADCAST = ("mpegts", "mpeg")  # recordings begin anywhere, so frames before the first key frame are broken
_SKIPPING = ("h264", "mpeg2video", "mpeg4")  # their decoders know which frames no other is built on
# frames; after a broken frame the next key frame heals, and encoders put one at least this often
_DAMAGE_LASTS = 250
_KEEPS_NO_ORDER = ("avi",)  # containers that write down decoding times only


class AvFrames:
    """A video read with PyAV in one thread.

    Attributes:
        width, height: displayed picture in pixels, rotation applied. aspect: width / height with the shape of
            the pixels. timecode: the start timecode that the file carries ('01:00:00:00'), '' without one.
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
        self._others: list[tuple[int, int]] = []  # more sizes of keyframes
        self._seekable = True  # whether stamps name frames; else frames are counted
        self._open()
        context, shape = self._stream.codec_context, self._stream.sample_aspect_ratio
        rate = self._stream.average_rate or self._stream.guessed_rate or self._stream.base_rate
        self.fps = float(rate) if rate else 0.0
        self.width, self.height = context.width, context.height
        self.aspect = self.width / max(self.height, 1) * (float(shape) if shape else 1.0)
        if self._rotation() % 180:
            self.width, self.height, self.aspect = self.height, self.width, 1 / self.aspect
        marks = (s.metadata.get("timecode") for s in self._container.streams)
        self.timecode = next(filter(None, marks), self._container.metadata.get("timecode", ""))

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
        self._stream, self._scaler = stream, FrameScaler(self.size, getattr(self, "_others", ()))

    def _rotation(self) -> int:
        """Degrees counterclockwise by which players turn the picture: 0, 90, 180 or 270."""
        with contextlib.suppress(self._error):
            for packet in self._container.demux(self._stream):
                for frame in packet.decode():
                    self._used = True
                    return round(frame.rotation / 90) * 90 % 360
        self._used = True
        return 0

    def close(self) -> None:
        self._container.close()

    def also(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Ask for keyframes in more sizes (width, height), see `LazyPicture.settle`; before any reading."""
        self._others, self._scaler = list(sizes), FrameScaler(self.size, sizes)

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
        unordered = self._container.format.name in _KEEPS_NO_ORDER
        if unordered or None in self._packets:  # only the decoding order is written down
            slots = {p for p in [*self._pts, *self._packets.pop(None, [])] if p is not None}
            self._pts = sorted(slots)[: self.decoded] if len(slots) >= self.decoded else []
            self._keys, self._packets = [], {}
        self._set_times(last)

    def _decode(self, wanted: Container[int] | None = None) -> Iterator:
        """PyAV frames from where the container stands, counting what is damaged.

        wanted: presentation stamps; of the other frames only those are decoded that others are built on.
        """
        self._packets: dict[int | None, list[int]] = {}  # decoding stamps of packets by presentation stamp
        clean = self._container.format.name not in _BROADCAST
        try:
            for packet in self._container.demux(self._stream):
                if wanted is not None:
                    asked = packet.pts in wanted or not packet.size
                    self._stream.codec_context.skip_frame = "DEFAULT" if asked else "NONREF"
                if packet.size and packet.dts is not None:
                    self._packets.setdefault(packet.pts, []).append(packet.dts)
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
        """Fill `times` from the packets, without decoding where the stamps can be trusted; return it."""
        self._start_again()
        packets = [p for p in self._container.demux(self._stream) if p.size and not p.is_discard]
        if not self._stamps_name_frames(packets):
            for _ in self.pictures():
                pass
            return self.times
        self._skips = self._stream.codec_context.name in _SKIPPING
        self._pts = sorted(p.pts for p in packets)
        self._keys = sorted(p.pts for p in packets if p.is_keyframe)
        self._packets = {p.pts: [p.dts] for p in packets if p.dts is not None}
        self._set_times(max(packets, key=lambda p: p.pts).duration)
        return self.times

    def _stamps_name_frames(self, packets: list) -> bool:
        """Whether every packet is one frame whose stamp no other has and whose place the stamps tell."""
        # VP8 has packets that show nothing, and fields can be packets of their own
        if self._stream.codec_context.name == "vp8" or self._container.format.name in _KEEPS_NO_ORDER:
            return False
        pts = [p.pts for p in packets]
        if not pts or None in pts or len(set(pts)) < len(pts):
            return False
        dts = [p.pts if p.dts is None else p.dts for p in packets]
        off = off_stamps(self._seconds(pts), self._seconds(dts), self._step())
        return not (off.any() or leaps(self._seconds(dts), self._step(), self._broadcast()).any())

    def _seconds(self, stamps: list[int | None]) -> np.ndarray:
        return np.array([np.nan if s is None else s for s in stamps], np.float64) * float(
            self._stream.time_base
        )

    def _step(self, last_duration: int | None = 0) -> float:
        """Seconds of a usual frame."""
        return (last_duration or 0) * float(self._stream.time_base) or 1 / (self.fps or 25.0)

    def _broadcast(self) -> bool:
        return self._container.format.name in _BROADCAST

    def _set_times(self, last_duration: int | None) -> None:
        """`times` from the presentation stamps, and the check that the stream is as long as it says."""
        if not self._pts or any(p is None for p in self._pts):
            raise M2SError(
                f"{self.path.name} has frames without timestamps: remux it (ffmpeg -i IN -c copy OUT.mkv)"
            )
        step, start_s = self._step(last_duration), (self._container.start_time or 0) / 1e6
        stamps = self._seconds(self._pts)
        off = off_stamps(stamps, self._seconds([min(self._packets.get(p, [p])) for p in self._pts]), step)
        stamps[off] = np.nan
        tick = float(self._stream.time_base)
        times = frame_times(stamps, step, tick=tick, broadcast=self._broadcast())
        self._seekable = bool((np.diff(self._pts) > 0).all() and np.allclose(times[:-1], stamps))
        announced = float(self._stream.duration or 0) * tick
        if self._seekable and times[-1] - times[0] < min(announced * 0.98, announced - 1.0):
            raise M2SError(
                f"{self.path.name} ends after {times[-1] - times[0]:.1f} s of the {announced:.1f} s that "
                f"it announces ({len(self._pts):,} frames): copy or download it again"
            )
        self.times = times - (start_s if abs(times[0] - start_s) < LEAP_S else times[0])

    def fetch(self, indices: Iterable[int]) -> dict[int, np.ndarray]:
        """The frames of these indices, exactly: {index: uint8 [h, w, c]}. Needs a filled `times`."""
        return {i: picture.small() for i, picture in self.fetch_pictures(indices).items()}

    def fetch_pictures(self, indices: Iterable[int]) -> dict[int, LazyPicture]:
        """The same with all sizes, settled."""
        indices, fetched = sorted(set(indices)), {}
        self._start_again()
        for back in (1, 2) if self._seekable and self._keys else ():
            # frames that lead an open GOP need the key frame before theirs
            groups: dict[int, dict[int, int]] = {}
            for i in indices:
                if i not in fetched:
                    key = self._keys[max(bisect.bisect_right(self._keys, self._pts[i]) - back, 0)]
                    groups.setdefault(key, {})[self._pts[i]] = i
            for key in sorted(groups):
                self._fetch_from(key, groups[key], fetched, skip=self._skips and back == 1)
        rest = set(indices) - set(fetched)
        for i, frame in self._counted(max(rest)) if rest else ():
            if i in rest:
                fetched[i] = self._settled(frame)
        if lost := sorted(set(indices) - set(fetched)):
            raise M2SError(f"{self.path.name}: frame {lost[0]} of {len(self._pts):,} cannot be decoded")
        return fetched

    def between(self, first: int, last: int) -> Iterator[tuple[int, object]]:
        """Indices and PyAV frames first .. last in display order, not scaled. Needs a filled `times`."""
        if not (self._seekable and self._keys):
            yield from ((i, frame) for i, frame in self._counted(last) if i >= first)
            return
        at = {pts: i for i, pts in enumerate(self._pts[first : last + 1], start=first)}
        key = bisect.bisect_right(self._keys, self._pts[first]) - 2  # frames may lead an open GOP
        self._start_again()
        self._container.seek(self._keys[max(key, 0)], stream=self._stream)
        for frame in self._decode():
            pts = frame.pts  # whoever gets the frame may change it
            if pts in at:
                yield at[pts], frame
            if pts is not None and pts >= self._pts[last]:
                return

    def _counted(self, last: int) -> Iterator[tuple[int, object]]:
        """Frames 0 .. last with their indices, from the start."""
        self._start_again()
        for i, frame in enumerate(self._decode()):
            yield i, frame
            if i == last:
                return

    def keys(self) -> np.ndarray:
        """Indices of the frames at which decoding can start, int64, ascending. Needs a filled `times`."""
        index = {pts: i for i, pts in enumerate(self._pts)} if self._seekable else {}
        return np.array(sorted(index[k] for k in self._keys if k in index), dtype=np.int64)

    def _settled(self, frame) -> LazyPicture:
        picture = self._scaler.lazily(frame)
        picture.settle()
        return picture

    def fetch_keys(self, indices: Iterable[int]) -> dict[int, LazyPicture]:
        """As `fetch_pictures`, of frames that are of `keys`, decoding key pictures only; those that do not
        come out whole are left out."""
        wanted = {self._pts[i]: i for i in indices}
        fetched: dict[int, LazyPicture] = {}
        if not wanted:
            return fetched
        self._start_again()
        self._stream.codec_context.skip_frame = "NONKEY"
        with contextlib.suppress(self._error):
            for packet in self._container.demux(self._stream):
                if packet.size and not (packet.is_keyframe and packet.pts in wanted):
                    continue
                with contextlib.suppress(self._error):
                    for frame in packet.decode():
                        if frame.pts in wanted and not frame.is_corrupt:
                            fetched[wanted[frame.pts]] = self._settled(frame)
                if len(fetched) == len(wanted):
                    break
        return fetched

    def _fetch_from(self, key: int, wanted: dict[int, int], fetched: dict, skip: bool) -> None:
        """Add to `fetched` what of `wanted` (pts -> index) decodes cleanly from the key frame at pts `key`.

        skip: leave out frames that no other is built on.
        """
        last = max(wanted)
        self._stream.codec_context.skip_frame = "DEFAULT"
        with contextlib.suppress(self._error):
            self._container.seek(key, stream=self._stream)
            for frame in self._decode(wanted if skip else None):
                if frame.pts in wanted and not frame.is_corrupt:
                    fetched[wanted[frame.pts]] = self._settled(frame)
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
