"""git as tests and benchmarks call it: in a folder of their own, by an author of their own, unsigned."""

import subprocess
from pathlib import Path


def git(folder: Path, *words: str) -> str:
    """What git prints, without the line's end; its failure fails the test."""
    own = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
