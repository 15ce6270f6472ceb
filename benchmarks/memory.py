"""Peak memory of the two stages that could grow with a film's length: `python -m benchmarks.memory`.

Each is measured in a process of its own: reading a two-hour film (01), and mining two films of 3,000 shots.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

FPS = 24


def long_film(folder: Path, seconds: int, shots: int = 10) -> Path:
    """A film of `seconds`: a short one's packets, written again and again with later times."""
    import av

    from benchmarks.film_paths import SHOT, made_up_film

    short, _ = made_up_film(folder, shots, 320, 180)
    path = folder / f"{seconds} s.mp4"
    length = shots * SHOT
    with av.open(short) as source, av.open(str(path), "w") as container:
        stream = source.streams.video[0]
        out = container.add_stream_from_template(stream)
        packets = [p for p in source.demux(stream) if p.size]
        step = int(1 / (FPS * stream.time_base))
        first = [(p.pts, p.dts) for p in packets]
        for turn in range(max(1, seconds * FPS // length)):
            for packet, (pts, dts) in zip(packets, first, strict=True):
                packet.pts, packet.dts = pts + turn * length * step, dts + turn * length * step
                packet.stream = out
                container.mux(packet)
    return path


def peak_mb() -> float:
    """Most memory that this process has had, in MB; Linux counts the parent's in `getrusage` too."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scan(path: str) -> dict:
    """Read one film; all of the process counts."""
    from m2s_lib.films.video.decoding import scan_film

    film = scan_film(path)
    return {"hours": film.duration_s / 3600, "shots": len(film.shots), "peak_mb": peak_mb()}


def mine(shots: int) -> dict:
    """Mine one film pair; what the process had before it began is taken off."""
    import numpy as np

    from benchmarks.setting import film_like
    from m2s_lib.mining.miner import MiningConfig, PairMiner

    rng = np.random.default_rng(0)
    features = {name: film_like(rng, shots) for name in ("a", "b")}
    miner = PairMiner(features, MiningConfig(9))
    small = {name: x[:20] for name, x in features.items()}
    PairMiner(small, MiningConfig(9)).mine([("a", "b")])  # what libraries allocate once
    before = peak_mb()
    pairs = miner.mine([("a", "b")])
    return {"shots": shots, "scene_pairs": len(pairs), "peak_mb": peak_mb() - before}


def measure(what: str, argument: str) -> dict:
    """`scan` or `mine` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", what, argument]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--seconds", type=int, default=7200, help="length of the film, s")
    parser.add_argument(
        "--shots", type=int, default=3000, help="shots of each of the two films that are mined"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        what, argument = options.child
        print(json.dumps(scan(argument) if what == "scan" else mine(int(argument))))
        return 0
    with tempfile.TemporaryDirectory(prefix="m2s_memory") as folder:
        read = measure("scan", str(long_film(Path(folder), options.seconds)))
    print(f"01 on a film of {read['hours']:.2f} h, {read['shots']:,} shots: {read['peak_mb']:,.0f} MB in all")
    mined = measure("mine", str(options.shots))
    print(f"mining {options.shots:,} x {options.shots:,} shots: {mined['peak_mb']:,.0f} MB more than before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
