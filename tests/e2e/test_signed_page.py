"""`kumulus sign`, then `trace --verify --public-key --html` on a whole build; its page is opened in a real browser.

Without a browser the signature and the exit statuses are checked all the same.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KUMULUS = (sys.executable, "-c", "from pipeline.cli import app; app()")
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")


@pytest.fixture
def kumulus(repository: Any) -> Callable[..., tuple[int, str]]:
    """A function that runs a command in the repository: its exit status and what it printed."""

    def run(*words: object) -> tuple[int, str]:
        done = subprocess.run([*KUMULUS, *map(str, words)], cwd=repository.root, env=repository.environment, text=True,
                              check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    return run


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Path], str]:
    """A function that opens a page in a browser and gives what its script has made of it; it skips without one."""
    program = os.environ.get("KUMULUS_TEST_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)

    def dump(page: Path) -> str:
        if program is None:
            pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on PATH; install one or set "
                        "KUMULUS_TEST_BROWSER")
        done = subprocess.run([program, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
                              capture_output=True, text=True, check=True, timeout=300)
        return done.stdout

    return dump


def test_signed_export_is_checked_byte_by_byte_and_shown(
    repository: Any, kumulus: Callable[..., tuple[int, str]], look: Callable[[Path], str], tmp_path: Path
) -> None:
    key, signature = tmp_path / "own.pem", tmp_path / "export.sig"
    status, text = kumulus("sign", "--key", key, "--new-key", "--out", signature)
    assert status == 0, text
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    checks = ("--verify", "--public-key", key.with_suffix(".pub"), "--signature", signature, "--repository",
              repository.root, "--html")
    whole, changed = tmp_path / "whole.html", tmp_path / "changed.html"
    status, text = kumulus("trace", "models/export/lineage.json", *checks, whole)
    assert status == 0, text
    assert "signature: verified: signature valid, over exactly these" in text
    taken = tmp_path / "taken"
    shutil.copytree(repository.root / "models/export", taken)
    name = next(taken.glob("maps/*_class.tif"))
    content = bytearray(name.read_bytes())
    content[len(content) // 2] ^= 1
    name.write_bytes(content)
    status, text = kumulus("trace", name, *checks, changed)
    assert status == 4, text
    assert "does not vouch for" in text

    shown = look(whole)  # what needs a browser comes last
    assert '<form id="toolbar" role="search">' in shown  # the script ran: without it the form stays hidden
    assert "Signature: verified" in shown
    for stage in ("acquire", "refine_labels", "rasterize", "spatial_split", "train", "evaluate", "export"):
        assert f'data-cell="stage:{stage}"' in shown
    assert "First broken link" not in shown
    shown = look(changed)
    assert "Signature: contradicted" in shown
    assert shown.index("First broken link") < shown.index('id="graph"')
