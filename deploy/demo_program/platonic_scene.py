"""Pairs of deep linear networks, by SGD and by gradient descent: progress, table, picture."""

import statistics

import figures

PICTURE = "platonic.png"
_METHODS = {"sgd": "SGD", "gradient-descent": "gradient descent"}
LAYERS = ("hidden-1", "hidden-2")


def run_names(method):
    """The two runs of a pair."""
    return [f"{method}-{side}" for side in "ab"]


RUNS = [run_names(method)[1] for method in _METHODS]
# Script and arguments of each trainer.
TRAINERS = [("platonic_trainer.py", ["--method", method]) for method in _METHODS]


def progress(run):
    """Title, metric, its labels besides the run, and format of what is shown of a run."""
    layer = LAYERS[0]
    first = f"{run.removesuffix('-b')}-a"
    with_first = {"layer": layer, "other_run": first, "other_layer": layer}
    return [
        ("step", "thermograd_last_step", {}, "{:.0f}"),
        (f"CKA with {first}", "thermograd_cross_run_cka_ratio", with_first, "{:.3f}"),
    ]


def history(method):
    """What is kept of the reports of a pair's second run, which compare it with the first."""
    first, second = run_names(method)
    return figures.History(
        second,
        {
            layer: (
                "thermograd_cross_run_cka_ratio",
                {"layer": layer, "other_run": first, "other_layer": layer},
            )
            for layer in LAYERS
        },
    )


def print_table(histories):
    """Prints before and after, a pair of runs a column."""
    figures.print_row("", _METHODS.values())
    for layer in LAYERS:
        values = [figures.xy(history, layer)[1] for history in histories]
        figures.print_row(
            f"CKA of the two runs, {layer}", [f"{v[0]:.3f} -> {v[-1]:.3f}" for v in values]
        )
    # Single batches are noisy.
    for side, title in ((1, "first"), (2, "second")):
        cells = []
        for history in histories:
            losses = [entry[side] for entry in history["losses"]]
            cells.append(f"{losses[0]:.1f} -> {statistics.fmean(losses[-50:]):.2g}")
        figures.print_row(f"loss of the {title} run", cells)
    figures.print_row(
        "loss of the label noise alone", [f"{history['noise_loss']:.2g}" for history in histories]
    )


def draw(histories, path):
    """Writes the picture: a colour a way of training, a line a hidden layer."""
    plt = figures.pyplot()
    figure, panel = plt.subplots(figsize=(9, 4.8))
    titles = ("SGD: batches of 8, noisy labels", "gradient descent: all samples, no noise")
    for history, title, colour in zip(histories, titles, ("#d1662b", "#1f5fa8")):
        ends = []
        for layer, style in zip(LAYERS, ("-", "--")):
            steps, values = figures.xy(history, layer)
            panel.plot(steps, values, color=colour, linestyle=style, linewidth=2)
            ends.append(values[-1])
        panel.text(
            0.985 * steps[-1],
            min(ends) - 0.05,
            title,
            color=colour,
            fontsize=12,
            fontweight="bold",
            horizontalalignment="right",
            verticalalignment="top",
        )
    for style, title in (("-", "first hidden layer"), ("--", "second hidden layer")):
        panel.plot([], [], color="grey", linestyle=style, label=title)
    panel.legend(loc="lower right")
    panel.set(
        xlabel="training step",
        ylabel="similarity of the two networks' layers\n(linear CKA; 1: the same representation)",
        xlim=(0, steps[-1]),
        ylim=(0, 1.02),
    )
    panel.set_title(
        "Two deep linear networks with different seeds and different views of the data "
        "learn the same map.\nThermograd compares their hidden layers while they train.",
        fontweight="normal",
        fontsize=10,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.suptitle(
        "Noise makes two networks see alike; without it they stay apart",
        x=panel.get_position().x0,
        ha="left",
        fontsize=14,
        fontweight="bold",
    )
    figure.savefig(path, dpi=100)
