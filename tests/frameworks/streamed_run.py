"""What a stream says about a training, and checks that it is what the training did."""

import numpy

from recording_server import GRADIENT, WEIGHT


def applied_gradients(recorder, step):
    """The mean gradient of a step's microbatches by name, the declared loss scale undone."""
    sums = {}
    for (name, _), gradient in recorder.named(step, GRADIENT).items():
        sums[name] = sums.get(name, 0) + gradient.astype(numpy.float64)
    scale = step.begin.loss_scale * step.begin.microbatches
    return {name: gradient / scale for name, gradient in sums.items()}


def weights(recorder, step):
    """The weights of a step by name."""
    return {name: array for (name, _), array in recorder.named(step, WEIGHT).items()}


def check_plain_sgd(recorder, final_weights):
    """The weights of each next step are those of plain SGD with what was streamed.

    They are so only if every microbatch, its loss scale and the learning rates of all groups are
    right. `final_weights` are those after the last step.
    """
    spec = recorder.specs[-1]
    groups = {entry.name: entry.group for entry in spec.parameters}
    after = [weights(recorder, step) for step in recorder.steps[1:]] + [final_weights]
    for step, following in zip(recorder.steps, after, strict=True):
        rates = {group.group: group.learning_rate for group in step.begin.groups}
        before = weights(recorder, step)
        gradients = applied_gradients(recorder, step)
        assert gradients.keys() == before.keys() == following.keys() == groups.keys()
        for name, gradient in gradients.items():
            rate = rates.get(groups[name], step.begin.learning_rate)
            assert rate > 0
            numpy.testing.assert_allclose(
                following[name] - before[name], -rate * gradient, rtol=1e-3, atol=2e-7,
                err_msg=f"{name}, step {step.begin.step}",
            )  # fmt: skip
            assert numpy.abs(gradient).max() > 0


def figures(server, run):
    """Samples of /metrics of one run: value by name, of those without further labels."""
    return {
        name: value
        for (name, labels), value in server.scrape().items()
        if labels == frozenset({("run", run)})
    }
