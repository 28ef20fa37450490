"""One training job: a pair of deep linear networks, both watched, without PyTorch.

Only the hidden layers on the probe set and the loss are streamed; the server compares the runs.
"""

import argparse
import contextlib
import json
import os
import signal

# Two trainers and the server share the machine; matrices this small gain nothing from threads.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import deep_linear  # noqa: E402
import platonic_scene  # noqa: E402

import thermograd  # noqa: E402

PROBE_SET = "inputs"
METHODS = {"sgd": deep_linear.SGD, "gradient-descent": deep_linear.GRADIENT_DESCENT}
STEPS = 20_000
EVERY = 100
SEED = 4


def stream_pair(address, runs, method, steps, every, seed):
    """Trains a pair, each network a run; yields step, losses and the two reports.

    The second network's step is analysed after the first one's, so its report compares both at
    the same step.
    """
    inputs = deep_linear.probe_inputs()
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(
                thermograd.RunStream(
                    address,
                    thermograd.run_spec(
                        run,
                        layers=[
                            thermograd.Layer(name, width=width, probe_set=PROBE_SET)
                            for name, width in zip(platonic_scene.LAYERS, deep_linear.WIDTHS[1:])
                        ],
                        probe_sets=[thermograd.ProbeSet(PROBE_SET, range(len(inputs)))],
                    ),
                )
            )
            for run in runs
        ]
        for step, losses, networks in deep_linear.train_pair(method, steps, every, seed):
            reports = []
            for stream, loss, network in zip(streams, losses, networks):
                stream.begin_step(step, loss=loss, learning_rate=method.learning_rate)
                for name, values in zip(platonic_scene.LAYERS, network.activations(inputs)[1:]):
                    stream.send(name, thermograd.ACTIVATION, values)
                reports.append(stream.end_step())
            yield step, losses, reports


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--method", required=True, choices=METHODS)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    # At once: a run that is broken off has no figures to send.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    history = platonic_scene.history(arguments.method)
    runs = platonic_scene.run_names(arguments.method)
    method = METHODS[arguments.method]
    losses = []
    for step, pair, reports in stream_pair(arguments.address, runs, method, STEPS, EVERY, SEED):
        history.add(reports[1])
        losses.append((step, *pair))
    noise_loss = 0.5 * deep_linear.WIDTHS[-1] * method.label_noise**2
    with open(arguments.output, "w", encoding="utf-8") as file:
        json.dump(history.to_json(losses=losses, noise_loss=noise_loss), file)


if __name__ == "__main__":
    main()
