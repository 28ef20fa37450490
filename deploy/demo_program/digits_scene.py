"""Two ReLU networks learn handwritten digits: what is shown while they train, table, picture."""

import statistics

import figures

PICTURE = "demo.png"
SEEDS = (1, 2)
_SYMMETRY = "layer:0->2"
_LAYER = "held-out digits:1"


def run_name(seed):
    return f"digits-seed-{seed}"


RUNS = [run_name(seed) for seed in SEEDS]
# Script and arguments of each trainer.
TRAINERS = [("digits_trainer.py", ["--seed", str(seed)]) for seed in SEEDS]


def progress(_run):
    """Title, metric, its labels besides the run, and format of what is shown of a run."""
    balance = "thermograd_symmetry_gradient_balance_ratio"
    return [
        ("step", "thermograd_last_step", {}, "{:.0f}"),
        ("entropic loss", "thermograd_entropic_loss", {}, "{:.2f}"),
        ("gradient balance", balance, {"symmetry": _SYMMETRY}, "{:+.2f}"),
    ]


def history(run):
    """What is kept of a run's reports."""
    of_symmetry = {"symmetry": _SYMMETRY}
    (other_run,) = set(RUNS) - {run}
    with_other = {"layer": _LAYER, "other_run": other_run, "other_layer": _LAYER}
    return figures.History(
        run,
        {
            "loss": ("thermograd_loss", {}),
            "entropic_loss": ("thermograd_entropic_loss", {}),
            "entropy_signal": ("thermograd_entropy_signal_term", {}),
            "entropy_noise": ("thermograd_entropy_noise_term", {}),
            "noise_scale": ("thermograd_gradient_noise_scale_samples", {}),
            "noise_scale_lower": ("thermograd_gradient_noise_scale_lower_samples", {}),
            "noise_scale_upper": ("thermograd_gradient_noise_scale_upper_samples", {}),
            "residual": ("thermograd_symmetry_residual_ratio", of_symmetry),
            "drift": ("thermograd_symmetry_charge_drift", of_symmetry),
            "predicted_drift": ("thermograd_symmetry_charge_drift_predicted", of_symmetry),
            "balance": ("thermograd_symmetry_gradient_balance_ratio", of_symmetry),
            "cka": ("thermograd_cross_run_cka_unbiased_ratio", with_other),
        },
    )


def _smooth(history, curve, width):
    """Means of `width` successive values, at their middle steps: single batches are noisy."""
    steps, values = figures.xy(history, curve)
    groups = range(0, len(values) - width + 1, width)
    return (
        [statistics.fmean(steps[i : i + width]) for i in groups],
        [statistics.fmean(values[i : i + width]) for i in groups],
    )


def _summed(history, curve):
    steps, values = figures.xy(history, curve)
    total, sums = 0.0, []
    for value in values:
        total += value
        sums.append(total)
    return steps, sums


def _first_and_last(history, curve):
    values = figures.xy(history, curve)[1]
    return values[0], values[-1]


def _noise_scale(history, at):
    """The noise scale and its 95 % interval at one of the steps whose window is full."""
    curves = [dict(history["curves"]["noise_scale" + bound]) for bound in ("", "_lower", "_upper")]
    steps = sorted(set.intersection(*map(set, curves)))
    step = [step for step in steps if step >= history["window_steps"] - 1][at]
    return "{:.0f} ({:.0f} to {:.0f})".format(*(curve[step] for curve in curves))


def print_table(histories):
    """Prints before and after, a run a column."""

    def before_after(title, curve, pattern):
        ends = [_first_and_last(history, curve) for history in histories]
        figures.print_row(title, [f"{pattern.format(a)} -> {pattern.format(b)}" for a, b in ends])

    def means_before_after(title, curve, pattern):
        smooth = [_smooth(history, curve, 100)[1] for history in histories]
        figures.print_row(
            title, [f"{pattern.format(v[0])} -> {pattern.format(v[-1])}" for v in smooth]
        )

    figures.print_row("", [history["run"] for history in histories])
    means_before_after("loss", "loss", "{:.3f}")
    means_before_after("entropic loss (what SGD descends)", "entropic_loss", "{:.3f}")
    for title, at in (("after one window", 0), ("at the end", -1)):
        figures.print_row(
            f"noise scale [samples] {title}",
            [_noise_scale(history, at) for history in histories],
        )
    for title, curve in (
        ("charge drift, observed, all steps", "drift"),
        ("charge drift, predicted by theory", "predicted_drift"),
    ):
        figures.print_row(
            title, [f"{_summed(history, curve)[1][-1]:+.5f}" for history in histories]
        )
    before_after("gradient balance of the layers (0: equal)", "balance", "{:+.2f}")
    figures.print_row(
        "symmetry residual, largest (0: exact)",
        [f"{max(figures.xy(history, 'residual')[1]):.0e}" for history in histories],
    )
    before_after("CKA with the other run, unbiased", "cka", "{:.2f}")
    figures.print_row(
        "accuracy on held-out digits", [f"{history['accuracy']:.1%}" for history in histories]
    )
    figures.print_row(
        "steps streamed, dropped",
        [f"{h['captured_steps']}, {h['dropped_steps']}" for h in histories],
    )
    figures.print_row(
        "steps/s, MB/s streamed",
        [
            f"{h['captured_steps'] / h['seconds']:.0f}, {h['sent_bytes'] / h['seconds'] / 1e6:.1f}"
            for h in histories
        ],
    )


def draw(histories, path):
    """Writes the picture: four panels, a colour a run."""
    plt = figures.pyplot()
    colours = ("#1f5fa8", "#d1662b")
    figure, panels = plt.subplots(2, 2, figsize=(10, 6.8), sharex=True)
    (entropies, drifts), (balances, similarities) = panels
    for history, colour in zip(histories, colours):
        run = history["run"]
        for curve, style in (("noise", "-"), ("signal", ":")):
            steps, values = figures.xy(history, f"entropy_{curve}")
            terms = [history["learning_rate"] * value for value in values]
            entropies.plot(steps, terms, color=colour, linewidth=1.5, linestyle=style)
        drifts.plot(*_summed(history, "drift"), color=colour, linewidth=4, alpha=0.35)
        drifts.plot(*_summed(history, "predicted_drift"), color=colour, linewidth=1, linestyle="--")
        balances.plot(*figures.xy(history, "balance"), color=colour, label=run)
        similarities.plot(*figures.xy(history, "cka"), color=colour, label=f"seen from {run}")
    entropies.axhline(0, color="black", linewidth=0.8)
    entropies.set(
        title="Soon the entropy term is noise alone",
        ylabel="the two parts of the entropy term\n" + r"$\eta S = F - L$ [nats]",
    )
    noise, signal = r"noise, $\eta\,$tr$\,\Sigma/4$", r"mean gradient, $\eta\,|G|^2/4$"
    for title, style in ((noise, "-"), (signal, ":")):
        entropies.plot([], [], color="grey", linewidth=1.5, linestyle=style, label=title)
    entropies.legend()
    drifts.set(
        title="The charge drifts as theory predicts",
        ylabel=r"$Q(t) - Q(0)$,  $Q = |W_1|^2 + |b_1|^2 - |W_2|^2$",
    )
    drifts.plot([], [], color="grey", linewidth=4, alpha=0.5, label="observed in the weights")
    drifts.plot([], [], color="grey", linewidth=1, linestyle="--", label="predicted from gradients")
    drifts.legend()
    balances.axhline(0, color="black", linewidth=0.8)
    balances.set(
        title="Noise drives the layers into balance",
        ylabel="gradient balance of the layers\n(0: equal, -1: all in the second)",
        xlabel="training step",
    )
    balances.legend()
    similarities.set(
        title="Two seeds come to see alike",
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
