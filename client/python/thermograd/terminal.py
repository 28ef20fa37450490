"""Draws the runs of a server in a terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text

from thermograd.board import Board, LiveRun
from thermograd.history import label_text
from thermograd.report import MetricKey, metric_key

_HOT, _WARN, _DIM, _CURVE = "bold red", "yellow", "bright_black", "cyan"
# At and above it a declared symmetry is none.
_RESIDUAL_LIMIT = 0.01
_LEAST_SPARK_COLUMNS, _MOST_SPARK_COLUMNS = 12, 60
_BAR_COLUMNS = 10
# The table of runs has all its columns, and curves, from here on.
_FULL_TABLE, _CURVE_TABLE = 104, 120
# Two panels stand side by side from here on.
_WIDE = 130
_LIST_ROWS = 8
_NUMBERED_LAYERS = 12
_NAME_COLUMNS = 22
_NUMBER_COLUMNS = 11

# Which similarity of layers the heat map shows, the first that is there.
_SIMILARITIES = (
    "thermograd_cka_unbiased_ratio",
    "thermograd_cka_minibatch_ratio",
    "thermograd_cka_ratio",
)
_EARLIER = ("thermograd_earlier_step_cka_unbiased_ratio", "thermograd_earlier_step_cka_ratio")
_CROSS_RUN = ("thermograd_cross_run_cka_unbiased_ratio", "thermograd_cross_run_cka_ratio")


# From least to most.
_LEVELS = "▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"
_EMPTY, _FULL, _MIDDLE = "·", "━", "┃"
_LIVE, _ENDED = "●", "○"


def clean(text: str) -> str:
    """Somebody's text without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def number(value: float | None) -> str:
    """A figure in a narrow column."""
    if value is None:
        return "–"
    if value == 0 or 0.001 <= abs(value) < 100_000:
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.2e}"


def sparkline(values: Sequence[float], columns: int) -> str:
    """A curve in one line of text; what is too long for it is averaged."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) > columns:
        edges = [len(finite) * place // columns for place in range(columns + 1)]
        finite = [sum(finite[left:right]) / (right - left) for left, right in zip(edges, edges[1:])]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    if high == low:
        return _LEVELS[len(_LEVELS) // 2 - 1] * len(finite)
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[round((value - low) / (high - low) * top)] for value in finite)


class View:
    """What is on the screen: all runs of a server, or one of them."""

    def __init__(self, address: str, run: str | None = None) -> None:
        self.address = clean(address)
        self.run = run
        self.board = Board()
        self._error = ""
        self._silent_since: float | None = None
        self._has_answered = False

    def receive(self, samples: Mapping[MetricKey, float], now: float) -> None:
        """Takes in an answer of the server."""
        self.board.update(samples, now)
        self._error = ""
        self._silent_since = None
        self._has_answered = True

    def fail(self, reason: str, now: float) -> None:
        """The server did not answer."""
        self._error = clean(reason)
        if self._silent_since is None:
            self._silent_since = now

    def turn(self, *, to_overview: bool) -> None:
        """Shows the next run, or all."""
        names = [None, *self.board.runs]
        if to_overview or self.run not in names:
            self.run = None
        else:
            self.run = names[(names.index(self.run) + 1) % len(names)]

    def render(self, console: Console, height: int | None) -> RenderableType:
        """The frame; `height` is that of the terminal, None where a frame may be of any height."""
        draw = _Drawing(console.width, height)
        parts: list[RenderableType] = [self._header(is_live_view=height is not None)]
        if self.run is None:
            parts.append(draw.overview(self.board))
        elif (run := self.board.runs.get(self.run)) is not None:
            parts.append(draw.run(run))
        elif self._has_answered:
            parts.append(Text(f"The server has no run {clean(self.run)} yet.", _WARN))
        return Group(*parts)

    def _header(self, *, is_live_view: bool) -> RenderableType:
        header = Table.grid(expand=True)
        header.add_column()
        header.add_column(justify="right")
        title = Text.assemble(("Thermograd ", "bold"), (self.address, _DIM))
        if self._silent_since is not None:
            silent = max(time.monotonic() - self._silent_since, 0.0)
            at = time.strftime("%H:%M:%S", time.localtime(time.time() - silent))
            title.append(f"  no answer since {at} ({silent:.0f} s): {self._error}", style=_HOT)
        elif not self._has_answered:
            title.append("  asking…", style=_DIM)
        header.add_row(title, Text("q end  Tab next run  a all" if is_live_view else "", _DIM))
        return header


@dataclass(frozen=True)
class _Drawing:
    width: int
    height: int | None

    def overview(self, board: Board) -> RenderableType:
        """A row for each run."""
        if not board.runs:
            return Text("No run has streamed yet.", _DIM)
        table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("run", ratio=2, overflow="ellipsis", no_wrap=True, min_width=8)
        for title in ("step", "steps/s", "loss"):
            table.add_column(title, justify="right", no_wrap=True)
        if has_curves := self.width >= _CURVE_TABLE:
            table.add_column("", no_wrap=True)
        titles = ["noise scale", "temperature", "entropic", "residual", "balance", "NaN, inf"]
        if is_narrow := self.width < _FULL_TABLE:
            titles = ["noise scale", "entropic", "residual", "NaN, inf"]
        for title in titles:
            table.add_column(title, justify="right", no_wrap=True)
        for run in board.runs.values():
            loss = metric_key("thermograd_loss")
            share = run.value("thermograd_entropic_share_ratio")
            count = run.non_finite()
            cells: list[RenderableType] = [
                self._name(run),
                "–" if run.step is None else f"{run.step:,}",
                number(run.steps_per_second()),
                self._figure(run, loss),
            ]
            if has_curves:
                cells.append(self._curve(run.curve(loss), 14))
            cells.append(self._figure(run, metric_key("thermograd_gradient_noise_scale_samples")))
            if not is_narrow:
                cells.append(self._figure(run, metric_key("thermograd_temperature")))
            cells.append("–" if share is None else f"{share:.1%}")
            cells.append(self._residual(run.worst("thermograd_symmetry_residual_ratio")))
            if not is_narrow:
                cells.append(number(run.worst("thermograd_symmetry_gradient_balance_ratio")))
            cells.append(Text(f"{count:,}", _HOT if count else _DIM))
            table.add_row(*cells, style=None if run.is_live else _DIM)
        return table

    def run(self, run: LiveRun) -> RenderableType:
        """Everything that matters of one run."""
        head = Text.assemble(
            self._name(run),
            ("   step ", _DIM), "–" if run.step is None else f"{run.step:,}",
            ("   steps/s ", _DIM), number(run.steps_per_second()),
            ("   NaN, inf ", _DIM),
            (f"{run.non_finite():,}", _HOT if run.non_finite() else ""),
        )  # fmt: skip
        is_wide = self.width >= _WIDE
        # Of what a terminal has, the heads, the frames and the fixed rows are taken off.
        rows = _LIST_ROWS
        if self.height is not None:
            free = self.height - (21 if is_wide else 30)
            rows = max(2, min(_LIST_ROWS, free // 2 if is_wide else free // 4))
        width = (self.width - 1) // 2 if is_wide else self.width
        entropic = _panel("Entropic forces", self._entropic(run, rows, width))
        symmetry = _panel("Symmetry breaking", self._symmetry(run, rows, width))
        likeness = _panel("Representation similarity", self._representations(run, rows, width))
        if not is_wide:
            return Group(head, entropic, symmetry, likeness)
        sides = Table.grid(expand=True, padding=(0, 1, 0, 0), pad_edge=False)
        sides.add_column(ratio=1)
        sides.add_column(ratio=1)
        sides.add_row(Group(entropic, symmetry), likeness)
        return Group(head, sides)

    def _name(self, run: LiveRun) -> Text:
        mark = (_LIVE, "green") if run.is_live else (_ENDED, _DIM)
        return Text.assemble(mark, " ", (clean(run.name), "bold"))

    def _entropic(self, run: LiveRun, rows: int, width: int) -> list[RenderableType]:
        table = _grid()
        curve_columns = _curve_columns(width)
        for title, name, bar in (
            ("loss", "loss", None),
            ("entropic loss", "entropic_loss", None),
            ("  share of entropy", "entropic_share_ratio", (0.0, 1.0)),
            ("noise scale, samples", "gradient_noise_scale_samples", None),
            ("signal to noise", "gradient_signal_to_noise", None),
            ("temperature", "temperature", None),
            ("equipartition", "equipartition_index_ratio", (0.0, 1.0)),
            ("stability, against 2", "directional_stability", (0.0, 2.0)),
        ):
            key = metric_key("thermograd_" + name)
            if (value := run.figures.get(key)) is not None:
                table.add_row(
                    title,
                    self._figure(run, key),
                    self._bar(value, bar),
                    self._curve(run.curve(key), curve_columns),
                )
        groups = run.keys("thermograd_group_temperature")
        what = "temperature of groups"
        if not groups:
            groups, what = run.keys("thermograd_parameter_temperature"), "temperature of parameters"
        return [table, *self._ranking(run, what, groups, rows, width)]

    def _symmetry(self, run: LiveRun, rows: int, width: int) -> list[RenderableType]:
        prefix = "thermograd_symmetry_"
        names = list(
            dict.fromkeys(label_text(key) for key in run.figures if key[0].startswith(prefix))
        )
        if not names:
            return [Text("No symmetry is declared, or weights are not streamed.", _DIM)]
        residuals = {
            label_text(key): run.figures[key] for key in run.keys(prefix + "residual_ratio")
        }
        names.sort(key=lambda name: -residuals.get(name, 0.0))
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("symmetry", no_wrap=True, overflow="ellipsis", ratio=1, style="default")
        for title in ("residual", "charge"):
            table.add_column(title, justify="right", no_wrap=True, header_style=_DIM)
        if has_curves := width >= 90:
            table.add_column("", no_wrap=True)
        for title in ("drift", "predicted", "balance"):
            table.add_column(title, justify="right", no_wrap=True, header_style=_DIM)
        if has_bars := width >= 72:
            table.add_column("", no_wrap=True)
        by_labels = {(key[0], label_text(key)): key for key in run.figures}

        def figure(name: str, *endings: str) -> MetricKey | None:
            keys = (by_labels.get((prefix + ending, name)) for ending in endings)
            return next((key for key in keys if key is not None), None)

        for name in names[:rows]:
            # Of charges that are matrices there is the norm.
            charge = figure(name, "charge", "charge_norm")
            balance = figure(name, "gradient_balance_ratio")
            cells: list[RenderableType] = [
                clean(name.removeprefix("symmetry=")),
                self._residual(residuals.get(name)),
                number(None if charge is None else run.figures[charge]),
            ]
            if has_curves:
                cells.append(self._curve([] if charge is None else run.curve(charge), width // 6))
            for endings in (
                ("charge_drift", "charge_drift_norm"),
                ("charge_drift_predicted", "charge_drift_predicted_norm"),
            ):
                key = figure(name, *endings)
                cells.append(number(None if key is None else run.figures[key]))
            value = None if balance is None else run.figures[balance]
            cells.append(number(value))
            if has_bars:
                cells.append(self._bar(value, (-1.0, 1.0)))
            table.add_row(*cells)
        return [table, *_and_more(len(names) - rows)]

    def _representations(self, run: LiveRun, rows: int, width: int) -> list[RenderableType]:
        parts: list[RenderableType] = []
        for name in _SIMILARITIES:
            pairs = {key: run.figures[key] for key in run.keys(name)}
            if pairs:
                title = name.removeprefix("thermograd_").removesuffix("_ratio")
                parts.append(Text(f"{title.replace('_', ' ')}, layer by layer", _DIM))
                parts += self._heat_map(pairs, width)
                break
        ranks = run.keys("thermograd_effective_rank")
        parts += self._ranking(run, "effective rank", ranks, rows, width)
        few = max(2, rows // 2)
        since = _first_of(run, _EARLIER, lambda labels: labels["reference"] == "first")
        parts += self._ranking(run, "likeness to the first step", since, few, width, scale=1.0)
        across = _first_of(run, _CROSS_RUN, lambda labels: labels["layer"] == labels["other_layer"])
        parts += self._ranking(run, "likeness to other runs", across, few, width, scale=1.0)
        return parts or [Text("No activations are streamed, and no probes.", _DIM)]

    def _ranking(
        self,
        run: LiveRun,
        what: str,
        keys: Sequence[MetricKey],
        rows: int,
        width: int,
        scale: float | None = None,
    ) -> list[RenderableType]:
        """A metric's figures in their order or, of too many, the largest; bars have one scale."""
        if not keys:
            return []
        top = scale or max(0.0, *(run.figures[key] for key in keys))
        shown = list(keys)
        if len(keys) > rows:
            shown = sorted(keys, key=lambda key: -run.figures[key])[:rows]
        table = _grid()
        curve_columns = _curve_columns(width)
        for key in shown:
            # A layer's likeness to the same layer names the layer once.
            values = " ".join(dict.fromkeys(clean(value) for _, value in key[1]))
            table.add_row(
                "  " + values,
                self._figure(run, key),
                self._bar(run.figures[key], (0.0, top)),
                self._curve(run.curve(key), curve_columns),
            )
        return [Text(what, _DIM), table, *_and_more(len(keys) - rows)]

    def _heat_map(self, pairs: Mapping[MetricKey, float], width: int) -> list[RenderableType]:
        from thermograd.plots import similarity_matrix

        layers, matrix = similarity_matrix(pairs)
        has_numbers = len(layers) <= _NUMBERED_LAYERS
        cell = 4 if has_numbers else 2
        fitting = max((width - 8 - _NAME_COLUMNS) // cell, 1)
        shown = min(len(layers), fitting)
        lines: list[RenderableType] = []
        if has_numbers:
            heading = "".join(f"{place + 1:>{cell}}" for place in range(shown))
            lines.append(Text(" " * (_NAME_COLUMNS + 4) + heading, _DIM))
        for place, layer in enumerate(layers[:shown]):
            line = Text(no_wrap=True)
            name = clean(layer)[-_NAME_COLUMNS:]
            line.append(f"{place + 1:>3} ", _DIM)
            line.append(f"{name:<{_NAME_COLUMNS}}")
            for value in matrix[place, :shown]:
                line.append(self._cell(float(value), cell, has_numbers), _heat(float(value)))
            lines.append(line)
        return [*lines, *_and_more(len(layers) - shown)]

    def _cell(self, value: float, columns: int, has_number: bool) -> str:
        if math.isnan(value):
            return " " * columns
        if has_number:
            return f" {value:4.2f}".replace(" 0.", "  .")[-columns:] if value < 0.995 else "   1"
        return _SHADES[round(min(max(value, 0.0), 1.0) * (len(_SHADES) - 1))] * columns

    def _curve(self, values: Sequence[float], columns: int) -> RenderableType:
        return Text(sparkline(values, columns), _CURVE)

    def _bar(self, value: float | None, ends: tuple[float, float] | None) -> RenderableType:
        """A bar from the left end or, where the scale has both signs, from its middle."""
        if value is None or ends is None or not ends[0] < ends[1]:
            return ""
        low, high = ends
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        if low < 0:
            half = _BAR_COLUMNS // 2
            filled = round(abs(share - 0.5) * 2 * half)
            left, right = (filled, 0) if share < 0.5 else (0, filled)
            return Text.assemble(
                (_EMPTY * (half - left), _DIM), (_FULL * left, _CURVE), (_MIDDLE, _DIM),
                (_FULL * right, _CURVE), (_EMPTY * (half - right), _DIM),
            )  # fmt: skip
        filled = round(share * _BAR_COLUMNS)
        return Text.assemble((_FULL * filled, _CURVE), (_EMPTY * (_BAR_COLUMNS - filled), _DIM))

    def _figure(self, run: LiveRun, key: MetricKey) -> Text:
        return Text(number(run.figures.get(key)), "" if key in run.fresh else _DIM)

    def _residual(self, value: float | None) -> Text:
        is_broken = value is not None and abs(value) >= _RESIDUAL_LIMIT
        return Text(number(value), _HOT if is_broken else "")


def _first_of(
    run: LiveRun, names: Iterable[str], is_shown: Callable[[dict[str, str]], bool]
) -> list[MetricKey]:
    """Some figures of the first of these metrics that the run has."""
    keys: list[MetricKey] = next((found for found in map(run.keys, names) if found), [])
    return [key for key in keys if is_shown(dict(key[1]))]


def _grid() -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=_NAME_COLUMNS, no_wrap=True, overflow="ellipsis")
    table.add_column(width=_NUMBER_COLUMNS, justify="right", no_wrap=True)
    table.add_column(width=_BAR_COLUMNS, no_wrap=True)
    table.add_column(no_wrap=True)
    return table


def _curve_columns(panel_columns: int) -> int:
    """What a row of `_grid` leaves to its curve: the frame and the gaps take seven."""
    left = panel_columns - _NAME_COLUMNS - _NUMBER_COLUMNS - _BAR_COLUMNS - 7
    return min(max(left, _LEAST_SPARK_COLUMNS), _MOST_SPARK_COLUMNS)


def _panel(title: str, parts: Iterable[RenderableType]) -> Panel:
    return Panel(Group(*parts), title=title, title_align="left", border_style=_DIM, box=box.ROUNDED)


def _and_more(count: int) -> list[RenderableType]:
    return [Text(f"  and {count} more", _DIM)] if count > 0 else []


def _heat(value: float) -> Style:
    """Background of a similarity: from dark blue to yellow, as maps of CKA are drawn."""
    if math.isnan(value):
        return Style()
    stops = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
    place = min(max(value, 0.0), 1.0) * (len(stops) - 1)
    left = min(int(place), len(stops) - 2)
    red, green, blue = (
        round(a + (b - a) * (place - left)) for a, b in zip(stops[left], stops[left + 1])
    )
    foreground = "black" if value > 0.6 else "white"
    return Style.parse(f"{foreground} on rgb({red},{green},{blue})")
