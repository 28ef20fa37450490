"""Two architectures, a perceptron and a CNN, learn the same digits and come to see alike.

Both are looked at on a common probe set; the server compares the layers of the two live runs.
"""

import job
import thermograd
import torch
from torch import nn

RUNS = {"perceptron": "example-perceptron", "cnn": "example-cnn"}
PROBE, PROBE_SAMPLES, EVERY = "digits", 200, 10
SIZE = 32
LAYER = f"{PROBE}:features"


class Network(nn.Module):
    """Features and a linear layer that reads them."""

    def __init__(self, features, width):
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.features(x))


def networks():
    """The two, by name."""
    return {
        "perceptron": Network(
            nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()), 64
        ),
        "cnn": Network(
            nn.Sequential(
                nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
                nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
                nn.Linear(256, 48), nn.ReLU(),
            ),
            48,
        ),
    }  # fmt: skip


def train(address, steps, runs=RUNS):
    """Trains both side by side, watched; the curves of the second run, which has the comparison."""
    torch.manual_seed(0)
    inputs, labels = job.digits()
    held_out = thermograd.Probe(
        PROBE, inputs[:PROBE_SAMPLES], ids=range(PROBE_SAMPLES), every=EVERY, layers=["features"]
    )
    first, second = runs.values()
    with_first = {"layer": LAYER, "other_run": first, "other_layer": LAYER}
    curves = job.Curves(
        loss=thermograd.metric_key("thermograd_loss"),
        cka=thermograd.metric_key("thermograd_cross_run_cka_unbiased_ratio", **with_first),
        neighbours=thermograd.metric_key(
            "thermograd_cross_run_mutual_neighbours_ratio", **with_first
        ),
    )
    trainers = []
    for model, run in zip(networks().values(), runs.values(), strict=True):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        watcher = thermograd.watch(
            model, optimizer, run=run, address=address, probes=[held_out], log_freq=EVERY,
            similarities=["cka_unbiased", "mutual_neighbours"],
            on_report=curves.take if run == second else None,
        )  # fmt: skip
        # Different batches: what the runs have in common is the task alone.
        batches = job.batches(
            inputs[PROBE_SAMPLES:], labels[PROBE_SAMPLES:], steps=steps, microbatches=1, size=SIZE,
            seed=len(trainers),
        )  # fmt: skip
        trainers.append((model, optimizer, watcher, batches))
    for _ in range(steps):
        for model, optimizer, watcher, batches in trainers:
            job.train_step(model, optimizer, watcher, next(batches))
            # The second run's step is compared with the first run's latest.
            watcher.flush(60.0)
    for _, _, watcher, _ in trainers:
        watcher.close()
    return curves


def main():
    settings = job.arguments(__doc__, steps=600)
    curves = train(settings.address, settings.steps)
    print(f"loss of the CNN: {curves.first('loss'):.2f} -> {curves.last('loss', 5):.2f}")
    for name in ("cka", "neighbours"):
        print(f"{name} of perceptron and CNN: {curves.first(name):.2f} -> {curves.last(name):.2f}")
    if settings.picture is None:
        return
    figure, (similarity, loss) = job.panels(2, title="A perceptron and a CNN come to see alike")
    similarity.set_title("similarity of their features on the same digits")
    for name, label in (("cka", "CKA (unbiased)"), ("neighbours", "mutual nearest neighbours")):
        similarity.plot(curves.steps(name), curves.values(name), label=label)
    similarity.set_ylim(0, 1)
    similarity.legend(loc="lower right")
    loss.set_title("loss of the CNN")
    loss.plot(curves.steps("loss"), curves.values("loss"))
    job.save(figure, settings.picture)


if __name__ == "__main__":
    main()
