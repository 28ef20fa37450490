"""The picture of a soak, from its samples."""

import verdict

MIB = verdict.MIB


def draw(samples, path, title):
    """Memory, series, threads and file descriptors, and what was done in all, over the minutes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    minutes = [sample["seconds"] / 60 for sample in samples]
    warm_up = verdict.WARM_UP * minutes[-1]

    def values(name, unit=1):
        return [sample[name] / unit for sample in samples]

    figure, panels = plt.subplots(4, 1, figsize=(9, 9), sharex=True, layout="constrained")
    memory, series, counts, totals = panels
    memory.plot(minutes, values("resident_bytes", MIB), label="resident")
    memory.plot(minutes, values("used_max_memory_bytes", MIB), lw=0.6, label="accounted")
    memory.set_ylabel("memory, MiB")
    series.plot(minutes, values("series"), lw=0.8, label="series of a scrape")
    series.set_ylabel("number")
    series.plot(
        minutes, values("used_max_runs", 0.01), lw=0.6, label="runs shown, a hundred times as many"
    )
    counts.plot(minutes, values("threads"), lw=0.8, label="threads")
    counts.plot(minutes, values("open_files"), lw=0.8, label="file descriptors")
    counts.set_ylabel("number")
    totals.plot(minutes, values("streams_total", 1e3), label="streams opened, thousands")
    totals.plot(minutes, values("steps_total", 1e4), label="steps, ten thousands")
    totals.plot(minutes, values("received_bytes_total", 1e10), label="received, tens of GB")
    totals.set_ylabel("in all")
    totals.set_xlabel("minutes")
    for panel in panels:
        # Room for the legend above the curves.
        panel.set_ylim(0, 1.25 * panel.get_ylim()[1])
        panel.axvspan(0, warm_up, color="0.92", zorder=0)
        panel.grid(alpha=0.25)
        panel.legend(loc="upper right", fontsize=8, ncols=3)
    memory.set_title(f"{title}; grey: warm-up", loc="left", fontsize=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)
