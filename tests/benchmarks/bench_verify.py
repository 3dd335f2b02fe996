"""`--verify` beside one pass of hashlib (md5 and sha256) over the same files, in one process; and the whole command.

    python -m tests.benchmarks.bench_verify                   # a raw scene of 700 MB, 1.05 GB of artifacts
    python -m tests.benchmarks.bench_verify --scene-mb 70 --repeats 5
    python -m tests.benchmarks.bench_verify --copies          # the cache keeps copies, so twice the bytes are read
    python -m tests.benchmarks.bench_verify --project .       # a project that is there, by its models/export

The pass is one thread that reads each file once, a MiB at a time, and gives each piece to both digests. Passes and
verifications take turns, after one pass that warms the page cache; the ratio is that of the medians. The command is
`kumulus trace --verify` in a process of its own on a tiny project: start-up, imports and answer.
"""

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.lineage.identify import identify
from pipeline.lineage.verify import Report, verify
from pipeline.paths import Paths
from tests.unit.lineage.handmade import CARD, make_project

#: What a verification reads below a project's folder.
FOLDERS = ("data", "models", "reports", "inputs", ".dvc/cache/files/md5", "pipeline", "stages")
FILES = ("requirements.lock", "dvc.yaml", "params.yaml")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_pass(files: list[Path]) -> None:
    """md5 and sha256 of each file, in one thread."""
    for path in files:
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while piece := file.read(1 << 20):
                md5.update(piece)
                sha256.update(piece)


def same_files(root: Path, size: int) -> list[Path]:
    """The different files below a project that a verification reads: two names of one file count once.

    Files that it has no reason to read (objects of other builds, reports of export) are left out by their number: the
    sizes must agree to a hundredth.
    """
    found: dict[tuple[int, int], Path] = {}
    for path in [*(p for folder in FOLDERS for p in sorted((root / folder).rglob("*"))), *(root / f for f in FILES)]:
        if path.is_file() and "__pycache__" not in path.parts:
            state = path.stat()
            found.setdefault((state.st_dev, state.st_ino), path)
    total = sum(path.stat().st_size for path in found.values())
    print(f"{len(found)} files below the project, {total / 1e6:.1f} MB; verify read {size / 1e6:.1f} MB")
    if abs(total - size) > 1e-2 * total:
        raise SystemExit("the files compared must be the same to a hundredth: name a project that holds one build")
    return list(found.values())


def measure(root: Path, target: str, repeats: int) -> None:
    paths = Paths(root)
    identified = identify(str(root / target), paths)
    report: Report = verify(identified, paths, progress=False)
    print(f"verdict {report.verdict}, {report.files} files, {report.size / 1e6:.1f} MB, {len(report.links)} links")
    files = same_files(root, report.size)
    one_pass(files)
    passes, verifications = [], []
    for number in range(repeats):
        passes.append(seconds(lambda: one_pass(files)))
        verifications.append(seconds(lambda: verify(identified, paths, progress=False)))
        print(f"  {number + 1}: one pass {passes[-1]:.2f} s, verify {verifications[-1]:.2f} s, "
              f"ratio {verifications[-1] / passes[-1]:.2f}")
    ratio = statistics.median(verifications) / statistics.median(passes)
    print(f"median of {repeats}: one pass {statistics.median(passes):.2f} s, verify "
          f"{statistics.median(verifications):.2f} s, ratio {ratio:.2f}")


def measure_command(scratch: Path, repeats: int) -> None:
    tiny = make_project(scratch / "tiny")
    call = [sys.executable, "-c", "from pipeline.cli import app; app()", "trace", CARD, "--verify"]
    times = [seconds(lambda: subprocess.run(call, cwd=tiny.root, check=True, capture_output=True))
             for _ in range(repeats)]
    inside = [seconds(tiny.verify) for _ in range(repeats)]
    print(f"the whole command on a project of some kB: median {statistics.median(times):.2f} s, of which verify "
          f"{statistics.median(inside):.2f} s; the rest is start-up, the same for any size")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene-mb", type=float, default=700.0, help="size of the raw scene; the store has half of it")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--copies", action="store_true", help="the cache keeps copies of its own, no hard links")
    parser.add_argument("--project", type=Path, help="measure a project that is there")
    parser.add_argument("--target", default="", help="a finished file of it")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kumulus-verify-") as name:
        scratch = Path(name)
        if chosen.project:
            measure(chosen.project.resolve(), chosen.target or "models/export/model.onnx", chosen.repeats)
        else:
            made = make_project(scratch / "project", int(chosen.scene_mb * 1e6), links=not chosen.copies)
            measure(made.root, chosen.target or CARD, chosen.repeats)
        measure_command(scratch, chosen.repeats)


if __name__ == "__main__":
    main()
