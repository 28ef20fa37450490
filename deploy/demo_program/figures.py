"""What the server reported, step by step: the history of a run, the table, the picture."""

import statistics

SYMMETRY = "layer:0->2"
LAYER = "held-out digits:1"
_CURVES = {
    "loss": ("thermograd_loss", {}),
    "entropic_loss": ("thermograd_entropic_loss", {}),
    "noise_scale": ("thermograd_gradient_noise_scale_samples", {}),
    "residual": ("thermograd_symmetry_residual_ratio", {"symmetry": SYMMETRY}),
    "drift": ("thermograd_symmetry_charge_drift", {"symmetry": SYMMETRY}),
    "predicted_drift": ("thermograd_symmetry_charge_drift_predicted", {"symmetry": SYMMETRY}),
    "balance": ("thermograd_symmetry_gradient_balance_ratio", {"symmetry": SYMMETRY}),
}
_CKA = "thermograd_cross_run_cka_unbiased_ratio"


def run_name(seed):
    return f"digits-seed-{seed}"


class History:
    """The figures of a run that the table and the picture need, each with its steps."""

    def __init__(self, run):
        self._run = run
        self._curves = {name: [] for name in (*_CURVES, "cka")}

    def add(self, report):
        """Takes in the report of one step."""
        found = {
            (metric.name, tuple((label.name, label.value) for label in metric.labels)): metric.value
            for metric in report.metrics
        }
        for curve, (name, labels) in _CURVES.items():
            if (value := found.get((name, tuple(labels.items())))) is not None:
                self._curves[curve].append((report.step, value))
        for (name, labels), value in found.items():
            labels = dict(labels)
            if name == _CKA and labels["layer"] == labels["other_layer"] == LAYER:
                self._curves["cka"].append((report.step, value))

    def to_json(self, **facts):
        return {"run": self._run, "curves": self._curves, **facts}


def _xy(history, curve):
    points = history["curves"][curve]
    return [step for step, _ in points], [value for _, value in points]


def _smooth(history, curve, width):
    """Means of `width` successive values, at their middle steps: single batches are noisy."""
    steps, values = _xy(history, curve)
    groups = range(0, len(values) - width + 1, width)
    return (
        [statistics.fmean(steps[i : i + width]) for i in groups],
        [statistics.fmean(values[i : i + width]) for i in groups],
    )


def _trailing_means(history, curve, window_steps):
    """Means over the `window_steps` latest steps, as the server takes its own."""
    steps, values = _xy(history, curve)
    return (
        steps[window_steps - 1 :],
        [
            statistics.fmean(values[end - window_steps : end])
            for end in range(window_steps, len(values) + 1)
        ],
    )


def _summed(history, curve):
    steps, values = _xy(history, curve)
    total, sums = 0.0, []
    for value in values:
        total += value
        sums.append(total)
    return steps, sums


def _first_and_last(history, curve):
    values = _xy(history, curve)[1]
    return values[0], values[-1]


def print_table(histories):
    """Prints before and after, a run a column."""

    def row(title, cells):
        print(f"{title:<44}" + "".join(f"{cell:>20}" for cell in cells))

    def before_after(title, curve, pattern):
        ends = [_first_and_last(history, curve) for history in histories]
        row(title, [f"{pattern.format(a)} -> {pattern.format(b)}" for a, b in ends])

    def means_before_after(title, curve, pattern):
        smooth = [_smooth(history, curve, 100)[1] for history in histories]
        row(title, [f"{pattern.format(v[0])} -> {pattern.format(v[-1])}" for v in smooth])

    row("", [history["run"] for history in histories])
    means_before_after("loss", "loss", "{:.3f}")
    means_before_after("entropic loss (what SGD descends)", "entropic_loss", "{:.3f}")
    before_after("gradient noise scale [samples]", "noise_scale", "{:.0f}")
    for title, curve in (
        ("charge drift, observed, all steps", "drift"),
        ("charge drift, predicted by theory", "predicted_drift"),
    ):
        row(title, [f"{_summed(history, curve)[1][-1]:+.5f}" for history in histories])
    before_after("gradient balance of the layers (0: equal)", "balance", "{:+.2f}")
    row(
        "symmetry residual, largest (0: exact)",
        [f"{max(_xy(history, 'residual')[1]):.0e}" for history in histories],
    )
    before_after("CKA with the other run, unbiased", "cka", "{:.2f}")
    row("accuracy on held-out digits", [f"{history['accuracy']:.1%}" for history in histories])
    row(
        "steps streamed, dropped",
        [f"{h['captured_steps']}, {h['dropped_steps']}" for h in histories],
    )
    row(
        "steps/s, MB/s streamed",
        [
            f"{h['captured_steps'] / h['seconds']:.0f}, {h['sent_bytes'] / h['seconds'] / 1e6:.1f}"
            for h in histories
        ],
    )


def draw(histories, path):
    """Writes the picture: four panels, a colour a run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
        }
    )
    colours = ("#1f5fa8", "#d1662b")
    figure, panels = plt.subplots(2, 2, figsize=(10, 6.8), sharex=True)
    (losses, drifts), (balances, similarities) = panels
    for history, colour in zip(histories, colours):
        run = history["run"]
        window = history["window_steps"]
        losses.plot(
            *_trailing_means(history, "loss", window), color=colour, label=f"loss L, {run}"
        )
        # Until its first window is full, the server's mean is over fewer steps.
        steps, entropic = _xy(history, "entropic_loss")
        losses.plot(
            steps[window - 1 :],
            entropic[window - 1 :],
            color=colour,
            linewidth=1,
            linestyle="--",
            label=f"entropic loss F, {run}",
        )
        drifts.plot(*_summed(history, "drift"), color=colour, linewidth=4, alpha=0.35)
        drifts.plot(*_summed(history, "predicted_drift"), color=colour, linewidth=1, linestyle="--")
        balances.plot(*_xy(history, "balance"), color=colour, label=run)
        similarities.plot(*_xy(history, "cka"), color=colour, label=f"seen from {run}")
    losses.set(
        title="SGD descends F, the loss plus what its steps cost",
        ylabel="cross-entropy [nats],\nmean over a window",
    )
    losses.legend()
    drifts.set(
        title="The charge drifts as the entropic force predicts",
        ylabel=r"$Q(t) - Q(0)$,  $Q = |W_1|^2 + |b_1|^2 - |W_2|^2$",
    )
    drifts.plot([], [], color="grey", linewidth=4, alpha=0.5, label="observed in the weights")
    drifts.plot([], [], color="grey", linewidth=1, linestyle="--", label="predicted from gradients")
    drifts.legend()
    balances.axhline(0, color="black", linewidth=0.8)
    balances.set(
        title="Gradient noise drives the two layers into balance",
        ylabel="gradient balance of the layers\n(0: equal, -1: all in the second)",
        xlabel="training step",
    )
    balances.legend()
    similarities.set(
        title="Two networks from different seeds come to see alike",
        ylabel="CKA of the hidden layers\non held-out digits (1: the same)",
        xlabel="training step",
        ylim=(0, 1),
    )
    similarities.legend(loc="lower right")
    figure.suptitle(
        "Two ReLU networks learning handwritten digits by plain SGD, watched live by Thermograd",
        x=0.012,
        ha="left",
    )
    figure.tight_layout()
    figure.savefig(path, dpi=100)
