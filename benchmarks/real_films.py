"""What reading a person's films costs: `python -m benchmarks.real_films FILM [--seconds 20]`.

The film is made into 480p, 1080p and 10-bit 2160p files; each is then read in a process of its own: decoding
alone, cuts alone, and cuts with previews and the features of `imagenet`, as `m2s open` does. Beside it stands
PySceneDetect's own command for the cuts alone. One thread each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.memory import peak_mb

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p")
KINDS = {  # name -> ffmpeg's options
    "480p H.264": ("-vf", "scale=854:480", *H264),
    "1080p H.264": ("-vf", "scale=1920:1080", *H264),
    "2160p HEVC, 10 bit": (
        *("-vf", "scale=3840:2160", "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"),
        *("-x265-params", "log-level=none"),
    ),
}  # fmt: skip


def make_films(film: Path, seconds: float, folder: Path) -> dict[str, Path]:
    """The first `seconds` of a film in each of KINDS."""
    import imageio_ffmpeg

    made = {}
    for number, (name, options) in enumerate(KINDS.items()):
        made[name] = folder / f"{number}.mp4"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-t", str(seconds), "-i", str(film)]
        subprocess.run([*command, "-an", *options, str(made[name])], check=True)
    return made


def read(what: str, path: str) -> dict:
    """Read one film in this process: frames, seconds, peak MB."""
    from m2s_lib.films.video.decoding import ScanConfig, scan_film
    from m2s_lib.films.video.frames import open_frames

    encode = None
    if what == "all":
        import torch

        from m2s_lib.encoders.pictures import encoder_by_name

        torch.set_num_threads(1)
        encode = encoder_by_name("imagenet")
    begun = time.perf_counter()
    if what == "decoding":
        frames = sum(1 for _ in open_frames(path, 64).pictures())
    else:
        film = scan_film(path, ScanConfig(64, preview_width=320 if encode else 0), encode=encode)
        frames = film.decoded
    return {"frames": frames, "seconds": time.perf_counter() - begun, "peak_mb": peak_mb()}


def in_a_process(what: str, path: Path) -> dict:
    """`read` in a process of its own, one thread."""
    command = [sys.executable, "-m", "benchmarks.real_films", "--child", what, str(path)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def scenedetect_seconds(path: Path) -> float:
    """PySceneDetect's command, adaptive detector, its own defaults."""
    command = [sys.executable, "-m", "scenedetect", "-q", "-i", str(path), "detect-adaptive"]
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main(arguments: list[str] | None = None) -> int:
    """Measure every kind and print a table; the least of three runs counts, the spread stands beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_films", description=__doc__)
    parser.add_argument("film", nargs="?", help="a real film")
    parser.add_argument("--seconds", type=float, default=20.0, help="of it, s")
    parser.add_argument("--runs", type=int, default=3, help="runs of each")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(read(*options.child)))
        return 0
    if not options.film:
        parser.error("which film? Give the path of a video file")
    with tempfile.TemporaryDirectory(prefix="m2s_films") as folder:
        for name, path in make_films(Path(options.film), options.seconds, Path(folder)).items():
            print(f"{name}: {measured(path, options.runs)}", flush=True)
    return 0


def measured(path: Path, runs: int) -> str:
    """One line about one file."""
    rows = [
        {what: in_a_process(what, path) for what in ("decoding", "cuts", "all")}
        | {"scenedetect": scenedetect_seconds(path)}
        for _ in range(runs)
    ]
    frames = rows[0]["all"]["frames"]
    rates = {w: [frames / r[w]["seconds"] for r in rows] for w in ("decoding", "cuts", "all")}
    rates["scenedetect"] = [frames / r["scenedetect"] for r in rows]
    share = max(rates["all"]) / max(rates["decoding"])
    words = ", ".join(
        f"{w} {max(r):,.0f} frames/s ({min(r):,.0f} to {max(r):,.0f})" for w, r in rates.items()
    )
    peak = max(r["all"]["peak_mb"] for r in rows)
    return f"{frames:,} frames; {words}; decoding is {share:.0%} of all; at most {peak:,.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
