"""The two-layer network of theory.md section 6 in numpy, and its stream."""

import numpy

from system_support import chunks, run, tensor

INPUTS, HIDDEN, OUTPUTS = 10, 16, 5
INCOMING, BIAS, OUTGOING = 1, 2, 3
LEARNING_RATE = 0.02


class Network:
    """x -> W act(U x + b), trained on a linear teacher whose labels are noisy."""

    def __init__(self, activation, seed):
        self.random = numpy.random.default_rng(seed)
        self.teacher = self.random.standard_normal((OUTPUTS, INPUTS))
        self.activation, self.slope = {
            "relu": (lambda z: numpy.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
            "tanh": (numpy.tanh, lambda z: 1 - numpy.tanh(z) ** 2),
        }[activation]
        self.parameters = {
            INCOMING: self.random.standard_normal((HIDDEN, INPUTS)),
            BIAS: 0.1 * self.random.standard_normal(HIDDEN),
            OUTGOING: 0.1 * self.random.standard_normal((OUTPUTS, HIDDEN)),
        }

    def gradient(self, samples):
        """Loss, half the mean squared norm of the error, and its gradients on a fresh batch."""
        x = self.random.standard_normal((samples, INPUTS))
        y = x @ self.teacher.T + self.random.standard_normal((samples, OUTPUTS))
        z = x @ self.parameters[INCOMING].T + self.parameters[BIAS]
        hidden = self.activation(z)
        error = hidden @ self.parameters[OUTGOING].T - y
        back = error @ self.parameters[OUTGOING] * self.slope(z)
        gradients = {
            INCOMING: back.T @ x / samples,
            BIAS: back.mean(axis=0),
            OUTGOING: error.T @ hidden / samples,
        }
        return 0.5 * (error**2).sum(axis=1).mean(), gradients

    def update(self, gradients, weight_decay=0.0):
        """One step of plain SGD."""
        for key, gradient in gradients.items():
            self.parameters[key] = self.parameters[key] - LEARNING_RATE * (
                gradient + weight_decay * self.parameters[key]
            )


def declaration(name):
    """A run whose hidden neurons are declared to be rescalable, every step a window of its own."""
    return run.RunSpec(
        run=name,
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        parameters=[
            run.Parameter(id=INCOMING, name="hidden.weight", shape=[HIDDEN, INPUTS]),
            run.Parameter(id=BIAS, name="hidden.bias", shape=[HIDDEN]),
            run.Parameter(id=OUTGOING, name="output.weight", shape=[OUTPUTS, HIDDEN]),
        ],
        symmetries=[
            run.Symmetry(
                name="hidden",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=run.Member(parameter_id=INCOMING),
                    incoming_bias=run.Member(parameter_id=BIAS),
                    outgoing=run.Member(parameter_id=OUTGOING),
                ),
            )
        ],
        reporting=run.Reporting(window_steps=1),
    )


def step_chunks(parameters, microbatch_gradients, dtype):
    """Weights and gradients of one step."""
    requests = []
    for key, weight in parameters.items():
        requests += chunks(key, tensor.TENSOR_KIND_WEIGHT, weight.astype(dtype))
    for microbatch, gradients in enumerate(microbatch_gradients):
        for key, gradient in gradients.items():
            requests += chunks(
                key, tensor.TENSOR_KIND_GRADIENT, gradient.astype(dtype), microbatch
            )
    return requests


def by_neuron(tensors, combine):
    """`combine` summed over what feeds each hidden neuron, and over what reads it."""
    product = {key: combine(key) for key in tensors}
    return product[INCOMING].sum(axis=1) + product[BIAS], product[OUTGOING].sum(axis=0)


def mean_gradients(microbatch_gradients):
    """The gradient that the step applies."""
    return {
        key: sum(gradients[key] for gradients in microbatch_gradients) / len(microbatch_gradients)
        for key in microbatch_gradients[0]
    }
