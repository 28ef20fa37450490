"""What the scenes share: the history of a run as the server reported it, tables, the style."""

class History:
    """Figures of a run, each with its steps: name of the curve to metric and labels."""

    def __init__(self, run, curves):
        self._run = run
        self._keys = {
            curve: (name, frozenset(labels.items())) for curve, (name, labels) in curves.items()
        }
        self._curves = {curve: [] for curve in self._keys}

    def add(self, report):
        """Takes in the report of one step."""
        found = {
            (metric.name, frozenset((label.name, label.value) for label in metric.labels)): (
                metric.value
            )
            for metric in report.metrics
        }
        for curve, key in self._keys.items():
            if key in found:
                self._curves[curve].append((report.step, found[key]))

    def to_json(self, **facts):
        return {"run": self._run, "curves": self._curves, **facts}


def xy(history, curve):
    """Steps and values."""
    points = history["curves"][curve]
    return [step for step, _ in points], [value for _, value in points]


def print_row(title, cells):
    """Prints a row of the table."""
    print(f"{title:<44}" + "".join(f"{cell:>28}" for cell in cells))


def pyplot():
    """matplotlib.pyplot in the style of the pictures."""
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
    return plt
