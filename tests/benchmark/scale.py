#!/usr/bin/env python3
"""What many concurrent runs need, from costs that were measured on one machine.

usage: scale.py            prints the table of deploy/SCALE.md from scale_figures.json
       scale.py --against deploy/SCALE.md    fails where the page has another table
       scale.py --check    up to 200 small runs through a server: measured CPU over predicted; fails
                           where it is more than 1.5 times as much
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
FIGURES = json.loads((HERE / "scale_figures.json").read_text())
RUNS = (10, 1_000, 100_000)


@dataclasses.dataclass(frozen=True)
class Profile:
    """One kind of run. Parameters are tensors, of which a model of millions of elements has dozens."""

    name: str
    streams: int  # ranks that stream
    parameters: int  # of one stream
    messages: int  # of one stream in a step that is streamed
    bytes_a_step: float  # of one stream, in a step that is streamed
    seconds_between: float  # streamed steps of one run
    open_step_bytes: float  # memory of one stream's open step


PROFILES = (
    # 4 microbatches of gradients and the weights in bf16; running sums are fp64. 0.1 s a step.
    Profile("research: 10 M elements, tensors", 1, 60, 5 * 60, 5 * 10e6 * 2, 16 * 0.1, 8 * 10e6),
    # Sums, in one message: some 200 bytes for each parameter. 1 s a step.
    Profile("medium: 1 G elements, statistics", 1, 300, 1, 300 * 200, 16 * 1.0, 300 * 1000),
    # Every rank sends the sums of its shards of 1,000 parameters. 10 s a step.
    Profile("frontier: 100 G, 1,024 ranks", 1024, 1000, 1, 1000 * 200, 16 * 10.0, 1000 * 1000),
)


def cpu_seconds(parameters, messages, gigabytes):
    """Server CPU of one stream's step: what a step, each parameter, each message, each byte adds."""
    return (
        FIGURES["seconds_a_step"]
        + parameters * FIGURES["seconds_a_parameter"]
        + messages * FIGURES["seconds_a_message"]
        + gigabytes * FIGURES["seconds_a_gigabyte"]
    )


def needs(profile, runs):
    """A row of the table."""
    steps = runs * profile.streams / profile.seconds_between
    cores = steps * cpu_seconds(
        profile.parameters, profile.messages, profile.bytes_a_step / 1e9
    )
    memory = runs * profile.streams * (profile.open_step_bytes + FIGURES["bytes_a_stream"])
    series = runs * (FIGURES["series_a_run"] + FIGURES["series_a_parameter"] * profile.parameters)
    network = steps * profile.bytes_a_step * 8
    scrape = series * FIGURES["scrape_bytes_a_series"]
    return [
        profile.name,
        f"{runs:,}",
        number(cores / FIGURES["target_utilisation"]),
        f"{number(memory / 1e9)}",
        f"{number(network / 1e9)}",
        number(series),
        number(scrape / 1e6),
        f"{math.ceil(series / FIGURES['series_a_server']):,}",
        f"{number(series * FIGURES['prometheus_bytes_a_series'] / 1e9)}",
        f"{math.ceil(3 * series / FIGURES['mimir_series_an_ingester']):,}",
    ]


def number(value):
    """Two digits."""
    if value < 0.01:
        return "< 0.01"
    digits = 1 - math.floor(math.log10(value))
    rounded = round(value, digits)
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.{max(digits, 0)}f}"


def table():
    """The table in Markdown."""
    heads = [
        "run", "runs", "cores", "memory, GB", "network, Gbit/s", "series", "a scrape, MB",
        "servers by series", "Prometheus, GB", "Mimir ingesters",
    ]  # fmt: skip
    rows = [heads, ["---"] * len(heads)]
    rows += [needs(profile, runs) for profile in PROFILES for runs in RUNS]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def check():
    """Measured over predicted server CPU of concurrent small runs; whether none is above 1.5."""
    sys.path.insert(0, str(HERE.parent))
    import numpy

    from system_support import Server, Stream, chunks, run, service, tensor

    elements = 256
    array = numpy.ones(elements, numpy.float32)

    def gradients(parameters):
        return [
            chunk
            for key in range(1, parameters + 1)
            for chunk in chunks(key, tensor.TENSOR_KIND_GRADIENT, array)
        ]

    def statistics(parameters):
        sums = [
            tensor.ParameterStatistics(
                tensor_id=key,
                elements=elements,
                gradient_sum_squared_norm=elements,
                gradient_squared_norm_of_sum=elements,
                weight_squared_norm=1,
            )
            for key in range(1, parameters + 1)
        ]
        return [service.StreamRunRequest(statistics=run.StepStatistics(parameters=sums))]

    def measure(runs, parameters, requests):
        with Server("--max_streams=256") as server:
            streams = [Stream(server) for _ in range(runs)]
            for index, stream in enumerate(streams):
                stream.open(
                    run.RunSpec(
                        run=f"scale-{index}",
                        parameters=[
                            run.Parameter(id=key, name=str(key), shape=[elements])
                            for key in range(1, parameters + 1)
                        ],
                        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
                    )
                )

            def step(index):
                begin = run.StepBegin(
                    step=index, loss=1, learning_rate=0.1, microbatch_size=1, microbatches=1
                )
                for stream in streams:
                    stream.step(begin, requests)

            step(0)  # grows buffers
            before = server.cpu_seconds()
            steps = max(4, 200 // runs)
            for index in range(1, steps + 1):
                step(index)
            return (server.cpu_seconds() - before) / (runs * steps)

    fits = True
    for name, make in (("tensors", gradients), ("statistics", statistics)):
        for runs, parameters in ((10, 4), (10, 64), (10, 256), (200, 4), (200, 64)):
            requests = make(parameters)
            measured = measure(runs, parameters, requests)
            gigabytes = sum(request.ByteSize() for request in requests) / 1e9
            predicted = cpu_seconds(parameters, len(requests), gigabytes)
            fits = fits and measured <= 1.5 * predicted
            print(
                f"{name}, {runs} runs of {parameters} parameters: {1e3 * measured:.3f} ms of server "
                f"CPU a step, {1e3 * predicted:.3f} predicted, {measured / predicted:.2f} x",
                flush=True,
            )
    return fits


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--against", type=pathlib.Path, metavar="PAGE")
    mode.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(0 if check() else "a step costs more than 1.5 times what the page reckons with")
    if arguments.against:
        if table() not in arguments.against.read_text():
            sys.exit(f"{arguments.against} should have the table\n\n{table()}")
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
