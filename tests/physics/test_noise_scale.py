"""Experiment 7 of the metric specification: the gradient noise scale of linear regression."""

import numpy
import pytest

from system_support import Stream, chunks, end_step, run, service, tensor, value

DIMENSION = 20
MICROBATCH_SIZE = 16
MICROBATCHES = 8
STEPS = 2000


@pytest.mark.parametrize("dtype, rounding", [(numpy.float64, 1e-9), (numpy.float32, 1e-4)])
def test_noise_scale_of_linear_regression(server, dtype, rounding):
    random = numpy.random.default_rng(7)
    error = 0.3 * random.standard_normal(DIMENSION)
    x = random.standard_normal((STEPS, MICROBATCHES, MICROBATCH_SIZE, DIMENSION))
    noise = random.standard_normal((STEPS, MICROBATCHES, MICROBATCH_SIZE))
    # Gradient of half the squared error at w - w* = error.
    gradients = numpy.einsum("smb,smbd->smd", x @ error - noise, x) / MICROBATCH_SIZE

    with Stream(server) as stream:
        accepted = stream.open(
            run.RunSpec(
                run=f"linear-{numpy.dtype(dtype).name}",
                parameters=[run.Parameter(id=1, name="weight", shape=[DIMENSION])],
                reporting=run.Reporting(window_steps=STEPS),
            )
        )
        assert accepted.window_steps == STEPS
        for step in range(STEPS):
            stream.send(
                service.StreamRunRequest(
                    step_begin=run.StepBegin(
                        step=step,
                        learning_rate=0.01,
                        microbatch_size=MICROBATCH_SIZE,
                        microbatches=MICROBATCHES,
                    )
                )
            )
            for microbatch in range(MICROBATCHES):
                gradient = gradients[step, microbatch].astype(dtype)
                stream.send(*chunks(1, tensor.TENSOR_KIND_GRADIENT, gradient, microbatch))
            stream.send(end_step(step))
            # One at a time: the server may skip the acknowledgements, never the reports.
            figures = stream.receive("step_report")

    squared_error = error @ error
    analytic = ((DIMENSION + 1) * squared_error + DIMENSION) / squared_error
    found = value(figures, "thermograd_gradient_noise_scale_samples")
    assert found == pytest.approx(analytic, rel=0.03)
    assert found == value(
        figures, "thermograd_parameter_gradient_noise_scale_samples", parameter="weight"
    )

    # The estimators themselves, on the same gradients.
    squared_norms = (gradients**2).sum(axis=(1, 2))
    norms_of_sum = (gradients.sum(axis=1) ** 2).sum(axis=1)
    trace = ((squared_norms - norms_of_sum / MICROBATCHES) / (MICROBATCHES - 1)).mean()
    mean = ((norms_of_sum - squared_norms) / (MICROBATCHES * (MICROBATCHES - 1))).mean()
    second_moment = squared_norms.mean() / MICROBATCHES
    for name, expected in (
        ("gradient_second_moment", second_moment),
        ("gradient_covariance_trace", trace),
        ("gradient_mean_squared_norm", mean),
        ("gradient_noise_scale_samples", MICROBATCH_SIZE * trace / mean),
    ):
        assert value(figures, f"thermograd_{name}") == pytest.approx(expected, rel=rounding)
