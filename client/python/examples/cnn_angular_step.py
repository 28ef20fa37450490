"""A small residual CNN whose filters turn by sqrt(2 eta gamma) a step, once in equilibrium.

Filters before a batch normalisation are scale-invariant: the gradient is orthogonal to them and
lengthens them, weight decay shortens them, and where both hold each other the angle of a step no
longer depends on the loss (Wan et al. 2021, arXiv 2006.08419).
"""

import job
import thermograd
import torch
from torch import nn

RUN = "example-angular-step"
LEARNING_RATE, WEIGHT_DECAY = 0.1, 0.05
CHANNELS, BATCH = 12, 32
SYMMETRY = "filters"


class Block(nn.Module):
    """Two convolutions, each normalised, and the way around them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(CHANNELS)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(CHANNELS)

    def forward(self, x):
        inner = self.first_norm(self.first(x)).relu()
        return (x + self.second_norm(self.second(inner))).relu()


class ResidualNetwork(nn.Module):
    """Of the digits' 64 pixels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(CHANNELS)
        self.block = Block()
        self.head = nn.Linear(CHANNELS * 4, 10)

    def forward(self, pixels):
        x = self.stem_norm(self.stem(pixels.view(-1, 1, 8, 8))).relu()
        x = nn.functional.avg_pool2d(self.block(x), 4)
        return self.head(x.flatten(1))


def filters(model):
    """Names of the weights that only a normalisation reads."""
    return [
        f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)
    ]


def train(address, steps, run=RUN):
    """Trains the network, watched; the curves of the run and the angle that theory predicts."""
    torch.manual_seed(0)
    model = ResidualNetwork()
    symmetries = [
        thermograd.ScaleInvariance(name, weight=name, per_row=True) for name in filters(model)
    ]
    curves = job.Curves(
        loss=thermograd.metric_key("thermograd_loss"),
        **{
            f"{figure} {symmetry.name}": thermograd.metric_key(
                f"thermograd_symmetry_{figure}", symmetry=symmetry.name
            )
            for symmetry in symmetries
            for figure in ("angular_step_radians", "angular_step_predicted_radians", "charge")
        },
    )
    named = dict(model.named_parameters())
    optimizer = torch.optim.SGD(
        [
            {
                "params": [named[name] for name in filters(model)],
                "weight_decay": WEIGHT_DECAY,
                "name": "filters",
            },
            {"params": [p for name, p in named.items() if name not in filters(model)],
             "name": "others"},
        ],
        lr=LEARNING_RATE,
    )  # fmt: skip
    inputs, labels = job.digits(wrong_labels=0.1)
    with thermograd.watch(
        model, optimizer, run=run, address=address, symmetries=symmetries, window_steps=64,
        on_report=curves.take, log_freq=1,
    ) as watcher:  # fmt: skip
        for batch in job.batches(inputs, labels, steps=steps, microbatches=1, size=BATCH):
            job.train_step(model, optimizer, watcher, batch)
        watcher.flush(60.0)
    return curves, [symmetry.name for symmetry in symmetries]


def main():
    settings = job.arguments(__doc__, steps=1500)
    curves, names = train(settings.address, settings.steps)
    predicted = curves.last(f"angular_step_predicted_radians {names[0]}")
    for name in names:
        key = f"angular_step_radians {name}"
        print(
            f"{name}: {curves.first(key):.4f} -> {curves.last(key):.4f} rad a step, "
            f"predicted {predicted:.4f}"
        )
    if settings.picture is None:
        return
    figure, (angle, norm) = job.panels(2, title="Scale-invariant filters of a residual CNN")
    angle.set_title("angle of a step (rad), mean over 64 steps")
    norm.set_title("sum of the filters' squared norms")
    for name in names:
        angle.plot(
            curves.steps(f"angular_step_radians {name}"),
            curves.values(f"angular_step_radians {name}"),
            label=name.removesuffix(".weight"),
        )
        norm.plot(curves.steps(f"charge {name}"), curves.values(f"charge {name}"))
    angle.axhline(predicted, color="grey", linestyle="--", label="$\\sqrt{2\\eta\\gamma}$")
    angle.set_ylim(bottom=0)
    angle.legend()
    job.save(figure, settings.picture)


if __name__ == "__main__":
    main()
