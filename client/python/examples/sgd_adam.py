"""SGD against Adam on the same task: what moves a conserved charge under either.

Of plain SGD without decay only the second order of a step moves the charge: entropic breaking. Adam
steps equal gradients unequally, which moves it in first order: optimiser breaking.
"""

import job
import thermograd
import torch
from torch import nn

RUNS = {"SGD": "example-sgd", "Adam": "example-adam"}
HIDDEN = 48
MICROBATCHES, SIZE = 4, 8
SYMMETRY = "layer:0->2"
TERMS = ("optimizer_breaking", "entropic_breaking")


def train(address, steps, runs=RUNS):
    """Trains the same network by both; the curves of the runs by the optimiser's name."""
    inputs, labels = job.digits(wrong_labels=0.1)
    found = {}
    for name, run in runs.items():
        curves = job.Curves(
            loss=thermograd.metric_key("thermograd_loss"),
            charge=thermograd.metric_key("thermograd_symmetry_charge", symmetry=SYMMETRY),
            error=thermograd.metric_key(
                "thermograd_symmetry_charge_drift_error_ratio", symmetry=SYMMETRY
            ),
            **{
                term: thermograd.metric_key(f"thermograd_symmetry_{term}", symmetry=SYMMETRY)
                for term in TERMS
            },
        )
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))
        optimizer = (
            torch.optim.SGD(model.parameters(), lr=0.1)
            if name == "SGD"
            else torch.optim.Adam(model.parameters(), lr=1e-3)
        )
        with thermograd.watch(
            model, optimizer, run=run, address=address, accumulation="mean", window_steps=32,
            log=["gradients", "parameters", "updates"], on_report=curves.take, log_freq=1,
        ) as watcher:  # fmt: skip
            for batch in job.batches(
                inputs, labels, steps=steps, microbatches=MICROBATCHES, size=SIZE
            ):
                job.train_step(model, optimizer, watcher, batch)
            watcher.flush(60.0)
        found[name] = curves
    return found


def size(curves, term):
    """Mean size of a term's change of the charge in a step."""
    values = curves.values(term)
    return sum(map(abs, values)) / len(values)


def main():
    settings = job.arguments(__doc__, steps=600)
    found = train(settings.address, settings.steps)
    for name, curves in found.items():
        print(
            f"{name}: loss {curves.first('loss'):.2f} -> {curves.last('loss', 50):.2f}; "
            + ", ".join(f"{term.replace('_', ' ')} {size(curves, term):.1e}" for term in TERMS)
            + f" a step; error of the predicted drift {curves.last('error', 50):.1e}"
        )
    if settings.picture is None:
        return
    figure, axes = job.panels(3, title="Optimiser breaking and entropic breaking of a charge")
    for panel, (name, curves) in zip(axes, found.items(), strict=False):
        panel.set_title(f"{name}: change of the charge in a step, by size")
        for term, colour in zip(TERMS, ("#1f5fa8", "#d1662b"), strict=True):
            panel.plot(
                curves.steps(term), [abs(value) for value in curves.values(term)], ".",
                markersize=2, color=colour, label=term.replace("_", " "),
            )  # fmt: skip
        panel.set_yscale("log")
        panel.set_ylim(1e-9, 1)
        panel.legend()
    axes[2].set_title("charge")
    for name, curves in found.items():
        axes[2].plot(curves.steps("charge"), curves.values("charge"), label=name)
    axes[2].legend()
    job.save(figure, settings.picture)


if __name__ == "__main__":
    main()
