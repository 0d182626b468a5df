"""What running exported models leaves behind outside the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DIAGNOSE = """
import os, sys, time
import leafscout
model = leafscout.load(sys.argv[1], runtime="onnxruntime")
model.diagnose(sys.argv[2])
time.sleep(0.5)
print([os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
       if os.path.exists(f"/proc/self/fd/{name}")])
"""


def diagnose_at(home: Path, run: Path, photo: Path) -> tuple[list[Path], str]:
    """Files that a diagnosis writes below the user's home, and those it holds open."""
    home.mkdir()
    hidden = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", DIAGNOSE, str(run), str(photo)],
        env={**kept, "HOME": str(home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [path for path in home.rglob("*") if path.is_file()], done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="open files come from /proc")
def test_onnx_runtime_reports_nothing(
    exported_run: Path, used_photos: Path, tmp_path: Path
) -> None:
    """Left alone, 1.31 numbers the machine and collects in a database below ``.cache`` what is run.

    No test turns that on: it would be sent.
    """
    photo = used_photos / "1.png"
    written, held = diagnose_at(tmp_path / "home", exported_run, photo)
    assert written == []
    assert ".db" not in held
    assert "socket" not in held
