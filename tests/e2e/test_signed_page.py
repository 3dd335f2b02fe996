"""`kumulus sign`, then `trace --verify --public-key --html` on a whole build; its page is opened in a real browser.

Without a browser the signature and the exit statuses are checked all the same.
"""

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chromium import FLAGS
from tests.e2e.conftest import Repository


@pytest.fixture
def look(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], str]:
    """A function that opens a page in a browser and gives what its script has made of it; it skips without one."""

    def dump(page: Path) -> str:
        program = request.getfixturevalue("browser_program")
        done = subprocess.run([program, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
                              capture_output=True, text=True, check=True, timeout=300)
        return done.stdout

    return dump


def test_signed_export_is_checked_byte_by_byte_and_shown(
    repository: Repository, look: Callable[[Path], str], tmp_path: Path
) -> None:
    key, signature = tmp_path / "own.pem", tmp_path / "export.sig"
    status, text = repository.kumulus("sign", "--key", key, "--new-key", "--out", signature)
    assert status == 0, text
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    checks = ("--verify", "--public-key", key.with_suffix(".pub"), "--signature", signature, "--repository",
              repository.root, "--html")
    whole, changed = tmp_path / "whole.html", tmp_path / "changed.html"
    status, text = repository.kumulus("trace", "models/export/lineage.json", *checks, whole)
    assert status == 0, text
    assert "signature: verified: signature valid, over exactly these" in text
    taken = tmp_path / "taken"
    shutil.copytree(repository.root / "models/export", taken)
    name = next(taken.glob("maps/*_class.tif"))
    content = bytearray(name.read_bytes())
    content[len(content) // 2] ^= 1
    name.write_bytes(content)
    status, text = repository.kumulus("trace", name, *checks, changed)
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
