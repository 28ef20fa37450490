"""LoRA fine-tuning: adapters start wholly unbalanced, B being zero, and come into balance.

Gradient flow conserves A A' - B' B. Weight decay shrinks it, and with it the imbalance
|A|^2 - |B|^2 of the start; gradient noise, which is not alike on both sides, keeps the matrix itself from zero.
"""

import job
import thermograd
import torch
from torch import nn

RUN = "example-lora"
RANK, HIDDEN = 4, 64
LEARNING_RATE, WEIGHT_DECAY = 0.1, 0.02
MICROBATCHES, SIZE = 2, 8


class Adapted(nn.Module):
    """A frozen linear layer and its adapter x A' B'."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.lora_A = nn.Linear(layer.in_features, RANK, bias=False)
        self.lora_B = nn.Linear(RANK, layer.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x):
        return self.layer(x) + self.lora_B(self.lora_A(x))


def pretrained(inputs, labels):
    """A network that knows the digits, unwatched."""
    model = nn.Sequential(
        nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
        nn.Linear(HIDDEN, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for ((x, y),) in job.batches(inputs, labels, steps=200, microbatches=1, size=64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def train(address, steps, run=RUN):
    """Fine-tunes to mirrored digits, watched; the curves of the run and the adapters' names."""
    torch.manual_seed(0)
    inputs, labels = job.digits(wrong_labels=0.1)
    model = pretrained(inputs, labels)
    for index in (0, 2):
        model[index] = Adapted(model[index])
    model[4].requires_grad_(False)
    symmetries = [
        thermograd.DoubleRotation(
            f"lora:{index}", first=f"{index}.lora_A.weight", second=f"{index}.lora_B.weight"
        )
        for index in (0, 2)
    ]
    names = [symmetry.name for symmetry in symmetries]
    curves = job.Curves(
        loss=thermograd.metric_key("thermograd_loss"),
        **{
            f"{figure} {name}": thermograd.metric_key(
                f"thermograd_symmetry_{figure}", symmetry=name
            )
            for name in names
            for figure in (
                "relative_charge_ratio", "charge_norm", "gradient_balance_ratio", "residual_ratio"
            )
        },
    )  # fmt: skip
    mirrored = inputs.view(-1, 8, 8).flip(2).flatten(1)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    with thermograd.watch(
        model, optimizer, run=run, address=address, symmetries=symmetries, accumulation="mean",
        window_steps=64, on_report=curves.take, log_freq=1,
    ) as watcher:  # fmt: skip
        for batch in job.batches(
            mirrored, labels, steps=steps, microbatches=MICROBATCHES, size=SIZE, seed=1
        ):
            job.train_step(model, optimizer, watcher, batch)
        watcher.flush(60.0)
    return curves, names


def main():
    settings = job.arguments(__doc__, steps=1500)
    curves, names = train(settings.address, settings.steps)
    print(f"loss: {curves.first('loss'):.2f} -> {curves.last('loss', 50):.2f}")
    for name in names:
        print(
            f"{name}: relative charge {curves.first(f'relative_charge_ratio {name}'):+.2f} -> "
            f"{curves.last(f'relative_charge_ratio {name}'):+.2f}, gradient balance "
            f"{curves.first(f'gradient_balance_ratio {name}'):.2f} -> "
            f"{curves.last(f'gradient_balance_ratio {name}'):.2f}"
        )
    if settings.picture is None:
        return
    figure, axes = job.panels(3, title="LoRA adapters come into balance")
    titles = {
        "relative_charge_ratio": "(|A|² − |B|²) / (|A|² + |B|²)",
        "charge_norm": "norm of A A' − B' B",
        "gradient_balance_ratio": "imbalance of the gradients of A and B",
    }
    for panel, (figure_name, title) in zip(axes, titles.items(), strict=True):
        panel.set_title(title)
        for name in names:
            key = f"{figure_name} {name}"
            panel.plot(curves.steps(key), curves.values(key), label=name)
        panel.set_ylim(bottom=min(0, *panel.get_ylim()))
    axes[0].legend()
    job.save(figure, settings.picture)


if __name__ == "__main__":
    main()
