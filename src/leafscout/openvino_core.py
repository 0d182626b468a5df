"""The one OpenVINO runtime of a process."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any


@cache
def share_core() -> Any:
    """OpenVINO's ``Core``, made on the first call and kept until the process ends.

    Each new one gives the thread that makes it another stack for its signals, and puts the one
    before back when it dies. Two that die in the order of their birth leave a stack that is
    unmapped: the next Ctrl-C is a segmentation fault.
    """
    openvino: Any = importlib.import_module("openvino")
    return openvino.Core()
