"""Exporters at work without their warnings and logs: what matters, they raise."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

_TALKATIVE = ("", "torch.onnx", "onnxscript", "onnx_ir")


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Let exporters print nothing and log errors alone, until the end of the block."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
