"""What the example jobs share: command line, data, the curves of a run, the style of pictures."""

import argparse
import statistics

import thermograd
import torch
from sklearn.datasets import load_digits

DEFAULT_ADDRESS = "127.0.0.1:50051"


class Curves:
    """Figures of a run by step; pass `take` as `on_report`."""

    def __init__(self, **keys):
        self._keys = keys
        self._points = {name: [] for name in keys}

    def take(self, report):
        """Takes in one report."""
        values = thermograd.report_values(report)
        for name, key in self._keys.items():
            if key in values:
                self._points[name].append((report.step, values[key]))

    def steps(self, name):
        """Steps in which the figure was defined."""
        return [step for step, _ in self._points[name]]

    def values(self, name):
        """Its values in these steps."""
        return [value for _, value in self._points[name]]

    def first(self, name, count=1):
        """Mean of the first values."""
        return statistics.fmean(self.values(name)[:count])

    def last(self, name, count=1):
        """Mean of the last values."""
        return statistics.fmean(self.values(name)[-count:])


def digits(*, wrong_labels=0.0, seed=0):
    """Handwritten digits (pixels in [0, 1], labels), some of the labels drawn at random.

    Gradient noise then does not die out.
    """
    data = load_digits()
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(data.target)
    is_wrong = torch.rand(len(labels), generator=generator) < wrong_labels
    drawn = torch.randint(10, labels.shape, generator=generator)
    inputs = torch.tensor(data.data / 16, dtype=torch.float32)
    return inputs, torch.where(is_wrong, drawn, labels)


def batches(inputs, labels, *, steps, microbatches, size, seed=0):
    """For each step its microbatches, drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        drawn = torch.randint(len(inputs), (microbatches, size), generator=generator)
        yield [(inputs[indices], labels[indices]) for indices in drawn]


def train_step(model, optimizer, watcher, microbatches):
    """One step of classification."""
    optimizer.zero_grad()
    for inputs, labels in microbatches:
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        (loss / len(microbatches)).backward()
        watcher.log(loss=loss)
    optimizer.step()


def arguments(description, *, steps):
    """The command line that all jobs have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--address", default=DEFAULT_ADDRESS, help="where the server is")
    parser.add_argument("--steps", type=int, default=steps, help=f"default: {steps}")
    parser.add_argument("--picture", metavar="FILE", help="where to write the picture")
    # Models this small gain nothing from threads.
    torch.set_num_threads(1)
    return parser.parse_args()


def panels(count, *, title):
    """A figure with panels side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 8,
            "axes.titlesize": 9,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "lines.linewidth": 1.2,
        }
    )
    figure, axes = plt.subplots(1, count, figsize=(4 * count, 2.8), squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    for panel in axes[0]:
        panel.set_xlabel("step")
    return figure, axes[0]


def save(figure, path):
    """Writes the picture."""
    figure.tight_layout()
    figure.savefig(path, dpi=72)
    print(f"picture: {path}")
