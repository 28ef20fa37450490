"""Real training of small PyTorch networks on real digits, watched."""

import threading

import torch
from sklearn.datasets import load_digits
from torch import nn

import thermograd

MICROBATCHES = 4
MICROBATCH_SIZE = 8
PROBE_EVERY = 2
PROBE_SAMPLES = 64
SYMMETRY = "layer:0->2"


class Trainer:
    """One network and its watcher. The hidden layer starts out of balance, so its charge moves."""

    def __init__(self, address, run, seed, on_report=None):
        digits = load_digits()
        self._inputs = torch.tensor(digits.data / 16, dtype=torch.float32)
        self._labels = torch.tensor(digits.target)
        self._random = torch.Generator().manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
        for layer, std in ((self.model[0], 0.3), (self.model[2], 0.1)):
            with torch.no_grad():
                layer.weight.copy_(std * torch.randn(layer.weight.shape, generator=self._random))
                layer.bias.zero_()
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.watcher = thermograd.watch(
            self.model,
            self._optimizer,
            run=run,
            address=address,
            accumulation="mean",
            window_steps=32,
            on_report=on_report,
            probes=[
                thermograd.Probe(
                    "digits", self._inputs[:PROBE_SAMPLES], ids=range(PROBE_SAMPLES),
                    every=PROBE_EVERY,
                )
            ], log_freq=1,
        )

    def step(self):
        """One step of SGD."""
        self._optimizer.zero_grad()
        for _ in range(MICROBATCHES):
            batch = torch.randint(
                len(self._inputs), (MICROBATCH_SIZE,), generator=self._random
            )
            loss = nn.functional.cross_entropy(self.model(self._inputs[batch]), self._labels[batch])
            (loss / MICROBATCHES).backward()
            self.watcher.log(loss=loss)
        self._optimizer.step()


class Training:
    """Trains on a thread of its own until it is stopped."""

    def __init__(self, trainers):
        self._trainers = trainers
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._train)
        self._thread.start()

    def _train(self):
        # With a pause, so that steps arrive at the pace of a larger model, for many scrapes.
        while not self._is_over.wait(0.02):
            for trainer in self._trainers:
                trainer.step()

    def stop(self):
        """Ends the training and its runs."""
        self._is_over.set()
        self._thread.join()
        for trainer in self._trainers:
            trainer.watcher.close()
