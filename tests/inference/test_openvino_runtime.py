"""What opening OpenVINO models leaves behind in the process."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

OPEN_AND_PRESS = """
import signal, sys
from pathlib import Path
from leafscout.export.openvino_graphs import convert_graph
from leafscout.inference.openvino_runtime import open_openvino_graph

onnx_file, folder = Path(sys.argv[1]), Path(sys.argv[2])
convert_graph(onnx_file, folder / "scout.xml")
first, second = (open_openvino_graph(folder / "scout.xml", ("cells",), 1) for _ in range(2))
del first
del second
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(True))
signal.raise_signal(signal.SIGINT)
print("asked to stop:", len(asked))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
)
def test_ctrl_c_is_heard_after_models_have_come_and_gone(
    exported_run: Path, tmp_path: Path
) -> None:
    """Each OpenVINO core moves the stack for signals; two of them once left it unmapped."""
    graph = exported_run / "exports" / "onnx" / "scout.onnx"
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_PRESS, str(graph), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout.strip() == "asked to stop: 1"
