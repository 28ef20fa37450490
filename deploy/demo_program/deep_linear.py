"""Pairs of deep linear networks that learn one map from different views of the data, in numpy.

The reference experiment of Platonic alignment: the networks of a pair differ in their seeds and in
the scales of their layers, and the second sees its inputs through an unknown linear view.
"""

import dataclasses

import numpy

WIDTHS = (8, 12, 12, 8)
PROBE_SAMPLES = 512
TRAINING_SAMPLES = 512


@dataclasses.dataclass(frozen=True)
class Method:
    """How a pair is trained. Without a batch size: on all samples, which is gradient descent."""

    learning_rate: float
    batch_size: int | None = None
    label_noise: float = 0.0


GRADIENT_DESCENT = Method(learning_rate=0.05)
SGD = Method(learning_rate=0.02, batch_size=8, label_noise=0.7)


class Network:
    """A product of weight matrices, the input seen through `view`."""

    def __init__(self, random, view):
        self.view = view
        self.weights = [
            random.uniform(0.3, 1.6) * random.standard_normal((rows, columns)) / columns**0.5
            for columns, rows in zip(WIDTHS, WIDTHS[1:])
        ]

    def activations(self, inputs):
        """What the network sees of the inputs, hidden layers and outputs; a sample a row."""
        result = [inputs @ self.view.T]
        for weight in self.weights:
            result.append(result[-1] @ weight.T)
        return result

    def descend(self, inputs, targets, learning_rate):
        """One step down the half mean squared error."""
        seen = self.activations(inputs)
        error = seen[-1] - targets
        back = error / len(inputs)
        for layer in reversed(range(len(self.weights))):
            gradient = back.T @ seen[layer]
            back = back @ self.weights[layer]
            self.weights[layer] -= learning_rate * gradient

    def loss(self, inputs, targets):
        """Half the squared error, mean over samples."""
        return 0.5 * ((self.activations(inputs)[-1] - targets) ** 2).sum() / len(inputs)


def probe_inputs():
    """The inputs on which the networks are compared, the same for every seed."""
    return numpy.random.default_rng(0).standard_normal((PROBE_SAMPLES, WIDTHS[0]))


def train_pair(method, steps, every, seed):
    """Trains a pair; yields step, losses and networks at every `every`-th step and at the end.

    The networks are those before the step, the losses those of the step's batches.
    """
    random = numpy.random.default_rng(seed)
    inputs = random.standard_normal((TRAINING_SAMPLES, WIDTHS[0]))
    teacher = random.standard_normal((WIDTHS[-1], WIDTHS[0])) / WIDTHS[0] ** 0.5
    rotation = numpy.linalg.qr(random.standard_normal((WIDTHS[0], WIDTHS[0])))[0]
    view = rotation @ numpy.diag(numpy.linspace(0.6, 1.7, WIDTHS[0]))
    networks = [
        Network(numpy.random.default_rng([seed, number]), seen)
        for number, seen in enumerate((numpy.eye(WIDTHS[0]), view))
    ]
    for step in range(steps + 1):
        batches = []
        for _ in networks:
            x = inputs
            if method.batch_size is not None:
                x = random.standard_normal((method.batch_size, WIDTHS[0]))
            noise = method.label_noise * random.standard_normal((len(x), WIDTHS[-1]))
            batches.append((x, x @ teacher.T + noise))
        if step % every == 0 or step == steps:
            losses = [network.loss(*batch) for network, batch in zip(networks, batches)]
            yield step, losses, networks
        for network, (x, y) in zip(networks, batches):
            network.descend(x, y, method.learning_rate)
