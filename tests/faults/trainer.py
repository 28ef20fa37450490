"""A training that streams to the address it is told, as a process of its own.

It takes a step every `--pause` seconds until its standard input says "stop", and then writes, as
JSON: the seconds that each step took the loop, a digest of the weights after it, what the client
counted, and the figures of every report.
"""

import argparse
import hashlib
import json
import pathlib
import select
import struct
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "end_to_end")]

import system_support  # noqa: E402, F401  (puts the client package on the path)
import torch  # noqa: E402
from torch import nn  # noqa: E402

import thermograd  # noqa: E402

MICROBATCHES, BATCH, INPUTS, NEURONS = 2, 8, 64, 32


def is_told_to_stop():
    """Whether the other side has spoken, or is gone."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def digest(model):
    """Of the weights, to the bit."""
    data = b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())
    return hashlib.sha256(data).hexdigest()


def train(arguments):
    """The record of one training."""
    torch.set_num_threads(1)
    source = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(INPUTS, NEURONS), nn.ReLU(), nn.Linear(NEURONS, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=source))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    reports = {}
    watcher = thermograd.watch(
        model,
        optimizer,
        run=arguments.run,
        address=arguments.address,
        accumulation="mean",
        log_freq=1,
        # Figures of a step are then its own, whatever came before.
        window_steps=1,
        spectrum_every_steps=1,
        queue_bytes=arguments.queue_bytes,
        on_report=lambda report: reports.__setitem__(report.step, report),
    )
    seconds, weights = [], []
    last = None if arguments.steps == 0 else arguments.steps
    while len(seconds) != last and not is_told_to_stop():
        inputs = torch.randn((MICROBATCHES, BATCH, INPUTS), generator=source)
        begun = time.monotonic()
        optimizer.zero_grad()
        for batch in inputs:
            loss = model(batch).square().mean()
            (loss / MICROBATCHES).backward()
            watcher.log(loss=loss)
        optimizer.step()
        seconds.append(time.monotonic() - begun)
        weights.append(digest(model))
        print(len(seconds), flush=True)
        time.sleep(arguments.pause)
    watcher.flush(60)
    watcher.close()
    stats = watcher.stats
    return {
        "seconds": seconds,
        "stats": {name: getattr(stats, name) for name in stats.__dataclass_fields__},
        "weights": weights,
        "reports": {
            step: {
                str(key): struct.pack("<d", value).hex()
                for key, value in thermograd.report_values(report).items()
            }
            for step, report in reports.items()
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--run", default="trainer")
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--queue_bytes", type=int, default=64 << 20)
    print(json.dumps(train(parser.parse_args())), flush=True)
