"""One training job: a ReLU network learns scikit-learn's handwritten digits, watched.

The job is what a user's own would be: everything that has to do with Thermograd is `watch`,
`Probe`, `log` and `close`. The reports that come back are written to a file for the picture.
"""

import argparse
import json
import os
import signal
import time

# Two trainers and the server share the machine; a network this small gains nothing from threads.
os.environ["OMP_NUM_THREADS"] = "1"

import digits_scene  # noqa: E402
import torch  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from torch import nn  # noqa: E402

import thermograd  # noqa: E402

STEPS = 3200
HIDDEN = 32
LEARNING_RATE = 0.1
MICROBATCHES = 4
MICROBATCH_SIZE = 8
# Part of the labels that is drawn at random, anew for each batch: gradients stay noisy, and the
# noise is what moves the charge.
LABEL_NOISE = 0.1
# Layers that start out of balance: large incoming weights, small outgoing ones.
INCOMING_SCALE = 1.5
OUTGOING_SCALE = 0.3
PROBE_SAMPLES = 256
PROBE_EVERY = 20
WINDOW_STEPS = 128


def load_data():
    """Training inputs and labels, probe inputs and their ids; the same for every seed."""
    digits = load_digits()
    inputs = torch.tensor(digits.data / 16, dtype=torch.float32)
    inputs -= inputs.mean(dim=0)
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    probe, train = order[:PROBE_SAMPLES], order[PROBE_SAMPLES:]
    return inputs[train], labels[train], inputs[probe], labels[probe], probe.tolist()


def make_model(inputs, classes):
    model = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
    for layer, scale in ((model[0], INCOMING_SCALE), (model[2], OUTGOING_SCALE)):
        nn.init.normal_(layer.weight, std=scale * (2 / layer.in_features) ** 0.5)
        nn.init.zeros_(layer.bias)
    return model


def train(address, seed):
    """Trains one network and returns its history for the picture."""
    torch.manual_seed(seed)
    inputs, labels, probe_inputs, probe_labels, probe_ids = load_data()
    model = make_model(inputs.shape[1], 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    criterion = nn.CrossEntropyLoss()

    history = digits_scene.history(digits_scene.run_name(seed))
    watcher = thermograd.watch(
        model,
        optimizer,
        run=digits_scene.run_name(seed),
        address=address,
        accumulation="mean",
        window_steps=WINDOW_STEPS,
        probes=[thermograd.Probe("held-out digits", probe_inputs, probe_ids, every=PROBE_EVERY)],
        on_report=history.add, log_freq=1,
    )
    begin = time.monotonic()
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses = []
        for _ in range(MICROBATCHES):
            batch = torch.randint(len(inputs), (MICROBATCH_SIZE,))
            targets = labels[batch].clone()
            is_noise = torch.rand(MICROBATCH_SIZE) < LABEL_NOISE
            targets[is_noise] = torch.randint(10, (int(is_noise.sum()),))
            loss = criterion(model(inputs[batch]), targets)
            (loss / MICROBATCHES).backward()
            losses.append(loss.detach())
        watcher.log(loss=torch.stack(losses).mean())
        optimizer.step()
    seconds = time.monotonic() - begin
    watcher.close(timeout=60)
    with torch.no_grad():
        accuracy = (model(probe_inputs).argmax(dim=1) == probe_labels).float().mean().item()
    stats = watcher.stats
    return history.to_json(
        window_steps=WINDOW_STEPS,
        learning_rate=LEARNING_RATE,
        accuracy=accuracy,
        seconds=seconds,
        sent_bytes=stats.sent_bytes,
        captured_steps=stats.captured_steps,
        dropped_steps=stats.dropped_steps,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    # At once: a run that is broken off has no figures to send.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    history = train(arguments.address, arguments.seed)
    with open(arguments.output, "w", encoding="utf-8") as file:
        json.dump(history, file)


if __name__ == "__main__":
    main()
