"""Keeps the reports of a run in a file."""

from __future__ import annotations

import threading
from pathlib import Path

from google.protobuf import json_format

from thermograd.v1 import report_pb2


class Recording:
    """Writes each report that it is called with to a file, for `thermograd report` and `frame`.

        with thermograd.Recording("my-run.jsonl") as recording:
            thermograd.watch(model, optimizer, run="my-run", on_report=recording)

    A line is a StepReport in JSON, as `thermograd send --format=json` prints it, and is complete
    when the call returns. An existing file is replaced, or with `append` continued.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self._lock = threading.Lock()
        self._file = open(path, "a" if append else "w", encoding="utf-8")

    def __call__(self, report: report_pb2.StepReport) -> None:
        line = json_format.MessageToJson(report, preserving_proto_field_name=True, indent=None)
        # `on_report` is called on the sender's thread, `close` on the trainer's.
        with self._lock:
            if not self._file.closed:
                self._file.write(line + "\n")
                self._file.flush()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the file; reports that come later are dropped."""
        with self._lock:
            self._file.close()
