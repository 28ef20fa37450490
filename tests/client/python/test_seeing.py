"""What the package shows of a run: recordings, frames, plots, pages, the view, loggers."""

import base64
import html.parser
import io
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import time

import matplotlib
import numpy
import pytest
import thermograd
from rich.console import Console

from system_support import COMMAND_LINE, ROOT, free_address, report
from thermograd import metric_key
from thermograd.adapters import scalar_name
from thermograd.board import MEMORY, Board
from thermograd.catalogue import catalogue
from thermograd.command_line import main
from thermograd.exposition import parse
from thermograd.history import History, of_reports, read_recording
from thermograd.plots import draw_curves, figure, similarity_matrix, thinned
from thermograd.report_page import render
from thermograd.terminal import View, clean, number, sparkline

LAYERS = ["embedding", "block.0", "block.1", "head"]


def step_report(step):
    """A report of figures with and without labels; the noise scale is missing in even steps."""
    made = report.StepReport(step=step)

    def add(name, value, **labels):
        metric = made.metrics.add(name=name, value=value)
        for label in labels.items():
            metric.labels.add(name=label[0], value=label[1])

    add("thermograd_loss", 2.0 / (1 + step))
    add("thermograd_entropic_share_ratio", 0.25)
    add("thermograd_symmetry_residual_ratio", 0.5, symmetry="<b>up&down</b>")
    add("thermograd_symmetry_charge", 3.0 - step, symmetry="<b>up&down</b>")
    for place, layer in enumerate(LAYERS):
        add("thermograd_effective_rank", 1.0 + place, layer=layer)
        for later, other in enumerate(LAYERS[place + 1 :], start=place + 1):
            add("thermograd_cka_ratio", 1.0 - 0.2 * (later - place), layer=layer, other=other)
    if step % 2:
        add("thermograd_gradient_noise_scale_samples", 100.0 * step)
    else:
        made.undefined.add(
            name="thermograd_gradient_noise_scale_samples",
            reason=report.UNDEFINED_REASON_ZERO_DENOMINATOR,
        )
    return made


REPORTS = [step_report(step) for step in range(5)]


@pytest.fixture(name="recorded")
def fixture_recorded(tmp_path):
    path = tmp_path / "my-run.jsonl"
    with thermograd.Recording(path) as recording:
        for each in REPORTS:
            recording(each)
    recording(REPORTS[0])  # Too late: dropped, not raised.
    return path


# Recordings and histories.


def test_a_recording_says_what_the_reports_said(recorded):
    history = read_recording(recorded)
    assert history.run == "my-run"
    expected = of_reports(REPORTS)
    assert history.steps == expected.steps == set(range(5))
    assert history.figures == expected.figures
    assert history.undefined == expected.undefined
    noise = metric_key("thermograd_gradient_noise_scale_samples")
    assert history.points(noise) == ([1, 3], [100.0, 300.0])
    assert history.latest(noise) == 300.0
    assert history.undefined == {noise: "zero denominator"}


def test_a_recording_is_continued(recorded):
    with thermograd.Recording(recorded, append=True) as recording:
        recording(step_report(9))
    assert read_recording(recorded).steps == {0, 1, 2, 3, 4, 9}


def test_a_recording_that_was_cut_short_is_read_up_to_there(recorded):
    recorded.write_text(recorded.read_text()[:-20])
    assert read_recording(recorded).steps == {0, 1, 2, 3}


def test_what_is_no_recording_is_refused(recorded):
    lines = recorded.read_text().splitlines(keepends=True)
    for wrong in ("{]\n", "[]\n", '{"metrics": [{"value": 1}]}\n', '{"step": "one"}\n'):
        recorded.write_text(lines[0] + wrong + lines[1])
        with pytest.raises(ValueError, match=r"my-run\.jsonl:2: not a StepReport"):
            read_recording(recorded)


def test_progress_is_told_to_the_end(recorded):
    told = []
    read_recording(recorded, progress=lambda done, total: told.append((done, total)))
    assert len(told) == 5 and told[-1][0] == told[-1][1] == recorded.stat().st_size


# The frame and its plots.


def test_frame(recorded):
    for source in (recorded, str(recorded), REPORTS, of_reports(REPORTS)):
        frame = thermograd.frame(source)
        assert frame.index.name == "step" and frame.index.tolist() == [0, 1, 2, 3, 4]
        assert frame.columns.names == ["metric", "labels"]
        assert frame["thermograd_loss"].tolist() == [2.0 / (1 + step) for step in range(5)]
        similarity = frame["thermograd_cka_ratio"]["layer=block.0, other=head"]
        assert similarity.tolist() == pytest.approx([0.6] * 5)
        noise = frame["thermograd_gradient_noise_scale_samples"]
        assert noise.isna().tolist() == [True, False, True, False, True]


def test_frame_of_nothing():
    assert thermograd.frame([]).shape == (0, 0)


def test_frame_of_prometheus_needs_a_run():
    with pytest.raises(ValueError, match="run must name"):
        thermograd.frame("http://127.0.0.1:9")


def test_plot():
    frame = thermograd.frame(REPORTS)
    made = thermograd.plot(frame, ["loss", "thermograd_effective_rank"])
    first, second = made.axes
    assert first.get_title(loc="left") == "loss"
    assert first.lines[0].get_xydata().tolist() == [[s, 2.0 / (1 + s)] for s in range(5)]
    drawn = [text.get_text() for text in second.get_legend().get_texts()]
    assert sorted(drawn) == sorted(f"layer={layer}" for layer in LAYERS)
    # Only what matters, where nothing is named.
    titles = {axis.get_title(loc="left") for axis in thermograd.plot(frame).axes}
    assert {"loss", "cka_ratio", "symmetry_charge"} <= titles
    with pytest.raises(KeyError, match="thermograd_nothing"):
        thermograd.plot(frame, "nothing")
    # Not one of pyplot's, which keeps its figures for ever.
    assert matplotlib.pyplot.get_fignums() == []


def test_of_many_curves_the_largest_are_drawn():
    made, (axis,) = figure()
    curves = {f"{i:02}": (numpy.arange(3), numpy.full(3, float(i))) for i in range(20)}
    assert draw_curves(axis, curves) == 8
    assert [line.get_label() for line in axis.lines] == [f"{i:02}" for i in range(12, 20)]


def test_a_thinned_curve_keeps_its_extremes():
    values = numpy.sin(numpy.arange(100_000) / 5000.0)
    values[54_321] = 7.0
    values[12_345] = -7.0
    steps, kept = thinned(numpy.arange(100_000), values)
    assert len(steps) <= 500
    assert kept.max() == 7.0 and steps[kept.argmax()] == 54_321
    assert kept.min() == -7.0 and steps[kept.argmin()] == 12_345
    assert steps[0] == 0 and steps[-1] == 99_999


def test_similarity_matrix():
    # As Prometheus gives them, in the order of the alphabet; the model's is z, m, a.
    pairs = {
        metric_key("s", layer="m", other="a"): 0.5,
        metric_key("s", layer="o:2", other="o:1"): 0.125,
        metric_key("s", layer="z", other="a"): 0.25,
        metric_key("s", layer="z", other="m"): 0.75,
    }
    layers, matrix = similarity_matrix(pairs)
    assert layers == ["z", "m", "a", "o:2", "o:1"]
    numpy.testing.assert_array_equal(
        matrix[:3, :3], [[1, 0.75, 0.25], [0.75, 1, 0.5], [0.25, 0.5, 1]]
    )
    numpy.testing.assert_array_equal(matrix[3:, 3:], [[1, 0.125], [0.125, 1]])
    assert numpy.isnan(matrix[:3, 3:]).all() and numpy.isnan(matrix[3:, :3]).all()


# The page.


class Page(html.parser.HTMLParser):
    """What a page refers to, and whether its elements close as they opened."""

    VOID = {"meta", "img", "wbr"}

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.references = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_report_of_a_recording(recorded, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--recording", str(recorded), "--run", "a/b <x>"]) == 0
    assert capsys.readouterr().out.strip() == "a_b _x_.html"
    text = (tmp_path / "a_b _x_.html").read_text()
    page = Page(text)
    for family in ("Entropic force", "Symmetry breaking", "Representation similarity"):
        assert family in page.text
    # Formulas and how to read them are those of the catalogue.
    for name in ("thermograd_loss", "thermograd_cka_ratio", "thermograd_symmetry_charge"):
        assert catalogue()[name].items["Formula"] in page.text
        assert catalogue()[name].items["Meaning"] in page.text
    assert "a/b <x>" in page.text and "0 to 4" in page.text
    assert "symmetry=<b>up&down</b>" not in text and "gradient_noise_scale_samples" in page.text
    assert "zero denominator" in page.text
    # Nothing outside of itself, neither from the page nor from its pictures.
    for reference in page.references:
        assert reference.startswith(("#", "data:image/svg+xml;base64,"))
    pictures = [r.partition(",")[2] for r in page.references if r.startswith("data:")]
    assert len(pictures) == len({metric.name for metric in REPORTS[1].metrics})
    drawn = [base64.b64decode(picture).decode() for picture in pictures]
    for picture in drawn:
        hrefs = re.findall(r'href="([^"]*)"', picture)
        assert all(href.startswith(("#", "data:")) for href in hrefs)
    # The matrix of the four layers is a heat map with its numbers.
    assert any(">0.80<" in picture and ">block.1<" in picture for picture in drawn)


def test_report_of_no_figures():
    assert "There are no figures" in Page(render(History("empty"))).text


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["report", "--recording", "/nowhere/x.jsonl"], 1, "No such file"),
        (["report", "--prometheus", "http://127.0.0.1:9", "--run", "r"], 1, "refused"),
    ],
)
def test_failures_are_told(arguments, code, words, capsys):
    assert main(arguments) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["report"], ["report", "--prometheus", "http://h"], ["watch", "--nothing"],
     ["report", "--recording", "x", "--start", "yesterday"]],
)  # fmt: skip
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: thermograd" in capsys.readouterr().err


def test_the_catalogue_is_the_servers(server):
    listed = subprocess.run(
        [COMMAND_LINE, "describe", "--format=json", f"--address={server.grpc_address}"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    metrics = json.loads(listed)["metrics"]
    assert list(catalogue()) == [metric["name"] for metric in metrics]
    for metric in metrics:
        entry = catalogue()[metric["name"]]
        assert entry.help == metric["help"]
        assert entry.items["Meaning"] == metric["meaning"]
        assert entry.items["Formula"] == metric["formula"]
        assert entry.items.get("Source", "") == metric["citation"]


# What the server shows, and what is remembered of it.


def test_parse():
    text = (
        "# HELP a_total Counts\n# TYPE a_total counter\n"
        "a_total 3\n"
        'b{run="r\\"1\\"",layer="a\\\\b\\nc, d=\\"}"} 1.5e-3 1700000000\n'
        'c{run="\u2028"} NaN\n\n'
    )
    samples = parse(text)
    assert samples[metric_key("a_total")] == 3.0
    assert samples[metric_key("b", run='r"1"', layer='a\\b\nc, d="}')] == 1.5e-3
    assert numpy.isnan(samples[metric_key("c", run="\u2028")])
    with pytest.raises(ValueError, match="not a line"):
        parse("<html>")


def scraped(step, run="r", **figures):
    """A scrape of one run."""
    samples = {
        metric_key("thermograd_last_step", run=run): float(step),
        metric_key("thermograd_run_live", run=run): 1.0,
    }
    for name, value in figures.items():
        samples[metric_key(f"thermograd_{name}", run=run)] = value
    return samples


def test_board_remembers():
    board = Board()
    for moment in range(2 * MEMORY):
        # A step every other scrape.
        board.update(scraped(moment // 2, loss=float(moment // 2)), float(moment))
    run = board.runs["r"]
    loss = metric_key("thermograd_loss")
    assert run.curve(loss) == [float(step) for step in range(MEMORY)]
    assert run.steps_per_second() == pytest.approx(0.5, rel=0.2)
    assert run.step == MEMORY - 1 and run.is_live
    # A figure that comes in few steps stays, and is known to be old.
    board.update(scraped(MEMORY), 2.0 * MEMORY)
    assert run.value("thermograd_loss") == MEMORY - 1 and loss not in run.fresh
    for moment in range(100):
        board.update(scraped(MEMORY), 2.0 * MEMORY + moment)
    assert run.value("thermograd_loss") is None
    # A run of the same name that begins anew has no past.
    board.update(scraped(0, loss=9.0), 1000.0)
    assert run.curve(loss) == [9.0]
    board.update({}, 1001.0)
    assert board.runs == {}


def test_board_of_several_ranks():
    samples = {
        metric_key("thermograd_last_step", run="r", rank="0"): 7.0,
        metric_key("thermograd_last_step", run="r", rank="1"): 6.0,
        metric_key("thermograd_run_live", run="r", rank="0"): 0.0,
        metric_key("thermograd_run_live", run="r", rank="1"): 1.0,
        metric_key("thermograd_symmetry_gradient_balance_ratio", run="r", symmetry="a"): 0.5,
        metric_key("thermograd_symmetry_gradient_balance_ratio", run="r", symmetry="b"): -0.75,
    }
    board = Board()
    board.update(samples, 0.0)
    run = board.runs["r"]
    assert run.step == 7 and run.is_live
    assert run.worst("thermograd_symmetry_gradient_balance_ratio") == -0.75


# The view.


def test_sparkline():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0.0] * 50 + [1.0] * 50, 4) == "▁▁██"
    assert sparkline([5.0, 5.0], 8) == "▄▄"
    assert sparkline([float("nan"), 1.0, float("inf"), 2.0], 8) == "▁█"
    assert sparkline([], 8) == ""


def test_number():
    values = (None, 0.0, 1.5, 0.012345, 1234.5, -98765.4, 1e7, 2e-9)
    assert [number(v) for v in values] == [
        "–", "0", "1.5", "0.01235", "1,234", "-98,765", "1.00e+07", "2.00e-09"
    ]  # fmt: skip


def test_what_a_terminal_would_obey_is_not_shown():
    assert clean("a\x1b[2Jb\x07\nc\u202e") == "a?[2Jb??c?"


def frame_of(view, **options):
    written = io.StringIO()
    console = Console(file=written, width=options.pop("width", 120), **options)
    console.print(view.render(console, height=None))
    return written.getvalue()


def view_of_reports(run=None):
    view = View("here:1", run)
    for each in REPORTS:
        samples = scraped(each.step, "my-run")
        for (name, labels), value in thermograd.report_values(each).items():
            samples[metric_key(name, run="my-run", **dict(labels))] = value
        samples[
            metric_key(
                "thermograd_parameter_non_finite_elements_total",
                run="my-run", parameter="w", **{"class": "nan"},
            )
        ] = 2.0  # fmt: skip
        view.receive(samples, float(each.step))
    return view


def test_overview():
    text = frame_of(view_of_reports())
    (row,) = [line for line in text.splitlines() if "my-run" in line]
    assert row.split() == [
        "●", "my-run", "4", "1", "0.4", "█▄▂▁▁", "300", "–", "25.0%", "0.5", "–", "2"
    ]  # fmt: skip
    assert "\x1b" not in text and "q end" not in text


def test_view_of_a_run():
    text = frame_of(view_of_reports("my-run"))
    assert re.search(r"loss +0\.4 +█▄▂▁▁", text)
    assert re.search(r"noise scale, samples +300 +▁█ ", text)
    assert re.search(r"share of entropy +0\.25 ━━········ ▄▄▄▄▄", text)
    assert re.search(r"<b>up&down</b> +0\.5 +-1 █▆▅▃▁", text)
    assert re.search(r" head +4 ━━━━━━━━━━ ", text)
    # The matrix of layers: numbers, rows in order, ones on the diagonal.
    rows = [re.search(rf"\d {re.escape(each)} +(.*\d) ", text)[1].split() for each in LAYERS]
    assert rows == [
        ["1", ".80", ".60", ".40"],
        [".80", "1", ".80", ".60"],
        [".60", ".80", "1", ".80"],
        [".40", ".60", ".80", "1"],
    ]


def test_wide_views_use_their_width_and_narrow_ones_fit():
    for width in (200, 130, 80, 60):
        lines = frame_of(view_of_reports("my-run"), width=width).splitlines()
        assert max(map(len, lines)) == width
        assert any("Entropic" in line and "Representation" in line for line in lines) == (
            width >= 130
        )
        assert "cka" in "".join(lines)
        # The names of what is measured are not squeezed away.
        assert any("<b>up&down<" in line for line in lines)
    for width in (200, 120, 104, 80):
        lines = frame_of(view_of_reports(), width=width).splitlines()
        assert max(map(len, lines)) == width
        # Nothing is cut off, columns are left out.
        assert "…" not in "".join(lines) and any("residual" in line for line in lines)
        assert any("balance" in line for line in lines) == (width >= 104)


def test_colour_only_where_it_is_wanted(monkeypatch):
    view = view_of_reports("my-run")
    assert "\x1b[" in frame_of(view, force_terminal=True, color_system="truecolor")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = frame_of(view, force_terminal=True, color_system="truecolor")
    assert not re.search(r"\x1b\[[\d;]*[34]8;", plain)


def test_the_servers_absence_is_told_and_what_was_known_stays():
    view = view_of_reports()
    view.fail("Connection refused", time.monotonic() - 90)
    view.fail("Connection refused", time.monotonic())
    text = frame_of(view)
    assert re.search(r"no answer since \d\d:\d\d:\d\d \((89|90|91) s\): Connection refused", text)
    assert "my-run" in text
    view.receive(scraped(5, "my-run"), time.monotonic())
    assert "no answer" not in frame_of(view)


def test_turning():
    view = View("here:1")
    view.receive(scraped(1, "a") | scraped(1, "b"), 0.0)
    seen = []
    for _ in range(4):
        view.turn(to_overview=False)
        seen.append(view.run)
    assert seen == ["a", "b", None, "a"]
    view.turn(to_overview=True)
    assert view.run is None


# Programs.


def environment(**more):
    stubs = pathlib.Path(thermograd.v1.__file__).parents[2]
    path = os.pathsep.join(map(str, (ROOT / "client/python", stubs)))
    return {**os.environ, "PYTHONPATH": path, "THERMOGRAD_PYTHON": sys.executable, **more}


def test_the_command_line_hands_over():
    for command in ("watch", "report"):
        done = subprocess.run(
            [COMMAND_LINE, command, "--help"],
            env=environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: thermograd {command}")


def test_the_command_line_says_that_the_package_is_missing(tmp_path):
    done = subprocess.run(
        [COMMAND_LINE, "watch", "--once"],
        cwd=tmp_path, env=environment(PYTHONPATH=""), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(
        r"thermograd watch: \S+ has no module thermograd: pip install .*\n", done.stderr
    )


def test_once_without_unicode(server):
    with thermograd.RunStream(
        server.grpc_address, thermograd.run_spec("caf\xe9", parameters={"w": (1,)})
    ):
        done = subprocess.run(
            [sys.executable, "-m", "thermograd", "watch", server.http_address, "--interval=0.1"],
            env=environment(PYTHONIOENCODING="ascii"), capture_output=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"caf? " in done.stdout


def test_once_without_a_server():
    address = free_address()
    done = subprocess.run(
        [sys.executable, "-m", "thermograd", "watch", address],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"thermograd watch: {address} does not answer: Connection refused\n"


def read_all(descriptor):
    """What is written into a terminal until its last writer has closed it."""
    written = b""
    while True:
        try:
            read = os.read(descriptor, 65536)
        except OSError:
            # Linux' way to say so.
            break
        written += read
    os.close(descriptor)
    return written.decode("utf-8", "replace")


def on_a_terminal(*command):
    """What a program writes to standard output, a pipe, and to standard error, a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, env=environment(TERM="xterm-256color"), stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        errors = read_all(ours)
        output = process.stdout.read().decode()
        assert process.wait(60) == 0, errors
    return output, errors


def test_long_work_shows_how_far_it_has_come(server, recorded, tmp_path):
    output, errors = on_a_terminal(
        COMMAND_LINE, "report", f"--recording={recorded}", f"--output={tmp_path / 'page.html'}"
    )
    assert output.strip().endswith("page.html")
    assert "reading" in errors and "drawing" in errors and "100%" in errors

    files = [tmp_path / f"{number}.npy" for number in range(3)]
    for file in files:
        numpy.save(file, numpy.ones((2, 3), numpy.float32))
    send = [COMMAND_LINE, "send", f"--address={server.grpc_address}", "--run=sent",
            "--format=json", *files]  # fmt: skip
    output, errors = on_a_terminal(*send)
    # And leaves nothing on the line.
    assert re.search(r"\x1b\[Kstep 1 of 3.*step 3 of 3.*\r\x1b\[K$", errors, re.DOTALL)
    (tmp_path / "sent.jsonl").write_text(output)
    assert read_recording(tmp_path / "sent.jsonl").steps == {1, 2, 3}
    quiet = subprocess.run(send, capture_output=True, timeout=60)
    assert quiet.returncode == 0 and quiet.stderr == b""


class Terminal:
    """The live view in a terminal of its own."""

    def __init__(self, *arguments):
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.execve(
                sys.executable,
                [sys.executable, "-m", "thermograd", "watch", *arguments],
                environment(TERM="xterm-256color", COLUMNS="120", LINES="40", LANG="C.UTF-8"),
            )
        self.written = ""

    def read_until(self, pattern, seconds=60):
        """Waits until what was written since the last call matches."""
        deadline = time.monotonic() + seconds
        text = ""
        while not re.search(pattern, text):
            assert time.monotonic() < deadline, text
            if select.select([self._terminal], [], [], 1)[0]:
                try:
                    read = os.read(self._terminal, 65536)
                except OSError:
                    # Linux' way to say that the other side is closed.
                    read = b""
                assert read, f"it ended: {text}"
                text += read.decode("utf-8", "replace")
        self.written += text

    def press(self, key):
        os.write(self._terminal, key.encode())

    def signal(self, number):
        os.kill(self._process, number)

    def end(self):
        """Exit code, once it has ended."""
        self.written += read_all(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])


@pytest.mark.parametrize("way", ["q", "\x03", signal.SIGTERM])
def test_the_live_view_ends_and_gives_the_terminal_back(way):
    terminal = Terminal(free_address())
    terminal.read_until(r"no answer since .*Connection refused")
    if isinstance(way, str):
        terminal.press(way)
    else:
        terminal.signal(way)
    assert terminal.end() == (0 if isinstance(way, str) else 128 + way)
    # To the alternate screen and back, the cursor shown again.
    assert terminal.written.index("\x1b[?1049h") < terminal.written.index("\x1b[?1049l")
    assert terminal.written.rindex("\x1b[?25h") > terminal.written.rindex("\x1b[?25l")


def test_the_live_view_follows_a_run(server):
    spec = thermograd.run_spec("followed", parameters={"w": (3,)})
    with thermograd.RunStream(server.grpc_address, spec) as stream:
        terminal = Terminal(server.http_address, "--interval=0.1")
        for step in (11, 12, 13):
            stream.begin_step(step, loss=1.0)
            stream.send("w", thermograd.GRADIENT, numpy.ones(3))
            stream.end_step()
            terminal.read_until(rf"followed\S* +{step} ")
        terminal.press("\t")
        terminal.read_until("Entropic forces")
        terminal.press("q")
        assert terminal.end() == 0


# Loggers.


class TensorBoard:
    def __init__(self):
        self.logged = []

    def add_scalar(self, name, value, step):
        self.logged.append((name, value, step))


class MLflow:
    def __init__(self):
        self.logged = []

    def log_metrics(self, figures, step):
        assert len(figures) <= 1000
        assert all(re.fullmatch(r"[/\w.\- ]+", name) for name in figures)
        self.logged += [(name, value, step) for name, value in figures.items()]


class WeightsAndBiases:
    def __init__(self):
        self.logged = []
        self.axes = {}

    def define_metric(self, name, step_metric=None):
        self.axes[name] = step_metric

    def log(self, figures, commit):
        assert not commit
        step = figures["thermograd/step"]
        self.logged += [(n, v, step) for n, v in figures.items() if n != "thermograd/step"]


class Log:
    def __init__(self):
        self.logged = []

    def log(self, figures, step):
        self.logged += [(name, value, step) for name, value in figures.items()]


class Function:
    def __init__(self):
        self.logged = []

    def __call__(self, figures, step):
        self.logged += [(name, value, step) for name, value in figures.items()]


@pytest.mark.parametrize("kind", [TensorBoard, MLflow, WeightsAndBiases, Log, Function])
def test_loggers(kind):
    writer = kind()
    on_report = thermograd.log_to(writer)
    for each in REPORTS:
        on_report(each)
    expected = [
        (scalar_name(key), value, each.step)
        for each in REPORTS
        for key, value in thermograd.report_values(each).items()
    ]
    if kind is MLflow:
        expected = [(re.sub(r"[^/\w.\- ]", "_", name), *rest) for name, *rest in expected]
    assert sorted(writer.logged) == sorted(expected)
    if kind is not MLflow:
        assert ("thermograd/cka_ratio/layer=block.0/other=head", pytest.approx(0.6), 2) in (
            writer.logged
        )
    if kind is WeightsAndBiases:
        assert writer.axes == {"thermograd/step": None, "thermograd/*": "thermograd/step"}


def test_only_some_figures_are_logged():
    writer = Function()
    thermograd.log_to(writer, include="loss|/layer=head")(REPORTS[1])
    assert {name for name, _, _ in writer.logged} == {
        "thermograd/loss", "thermograd/effective_rank/layer=head"
    }  # fmt: skip


def test_what_is_no_logger_is_refused():
    with pytest.raises(TypeError, match="int has none of add_scalar"):
        thermograd.log_to(3)


def test_tensorboard_reads_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        on_report = thermograd.log_to(writer)
        for each in REPORTS:
            on_report(each)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("thermograd/loss")] == [
        (step, pytest.approx(2.0 / (1 + step))) for step in range(5)
    ]


def test_mlflow_keeps_what_was_logged(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.set_experiment("seeing")
    with mlflow.start_run() as run:
        on_report = thermograd.log_to(mlflow)
        for each in REPORTS:
            on_report(each)
    kept = mlflow.MlflowClient().get_metric_history(run.info.run_id, "thermograd/loss")
    assert [(m.step, m.value) for m in kept] == [(s, 2.0 / (1 + s)) for s in range(5)]


def test_weights_and_biases_takes_what_is_logged(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=str(tmp_path), project="test") as run:
        on_report = thermograd.log_to(run)
        for each in REPORTS:
            run.log({"own": 1.0})
            on_report(each)
        run.log({"own": 1.0})
        assert run.summary["thermograd/loss"] == pytest.approx(0.4)
        assert run.summary["thermograd/step"] == 4
        assert run.summary["own"] == 1.0
