"""Which steps and which tensors are streamed: as the trainer says, and as the server asks."""

from __future__ import annotations

import os

from google.protobuf import json_format

from thermograd.v1 import run_pb2

# At every 16th step watching costs a job that shares its two cores with the server less than 3 %.
DEFAULT_LOG_FREQ = 16


def read_cadence(source: str | os.PathLike[str] | run_pb2.Cadence | None) -> run_pb2.Cadence:
    """A cadence as `watch` is given it: itself, the name of its JSON file, or None for no wishes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no cadence.
    """
    if source is None:
        return run_pb2.Cadence()
    if isinstance(source, run_pb2.Cadence):
        return source
    with open(source, encoding="utf-8") as file:
        text = file.read()
    cadence = run_pb2.Cadence()
    try:
        json_format.Parse(text, cadence)
    except json_format.ParseError as error:
        raise ValueError(f"cadence: {os.fspath(source)}: {error}") from None
    return cadence


def changed_cadence(cadence: run_pb2.Cadence, request: run_pb2.Cadence) -> run_pb2.Cadence:
    """The cadence with the fields that a request sets.

    Raises:
        ValueError: no step could be streamed by it.
    """
    changed = run_pb2.Cadence()
    changed.CopyFrom(cadence)
    # A list would be appended to.
    if request.HasField("layers"):
        changed.ClearField("layers")
    changed.MergeFrom(request)
    if changed.every_steps < 1:
        raise ValueError("cadence: every_steps must be at least 1")
    if changed.HasField("last_step") and changed.last_step < changed.first_step:
        raise ValueError(
            f"cadence: last_step {changed.last_step} comes before first_step {changed.first_step}"
        )
    return changed


def has_step(cadence: run_pb2.Cadence, step: int) -> bool:
    """Whether a step is streamed."""
    if step < cadence.first_step or (cadence.HasField("last_step") and step > cadence.last_step):
        return False
    return (step - cadence.first_step) % cadence.every_steps == 0


def selects(request: run_pb2.Cadence) -> bool:
    """Whether a request says which parameters or layers are streamed."""
    return any(request.HasField(name) for name in ("include", "exclude", "layers"))


def of_steps(request: run_pb2.Cadence) -> run_pb2.Cadence:
    """What a request says of the steps alone."""
    steps = run_pb2.Cadence()
    steps.CopyFrom(request)
    for name in ("include", "exclude", "layers"):
        steps.ClearField(name)
    return steps
