"""What part of a run is streamed, and that the declaration says so."""

import hashlib

import numpy
import pytest
import thermograd
import torch
from torch import nn

from recording_server import ACTIVATION
from thermograd.projection import RandomProjection


def model_of(width=40):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2))


def step(model, watcher, samples=5, microbatches=1):
    for seed in range(microbatches):
        x = torch.randn(samples, 6, generator=torch.Generator().manual_seed(seed))
        model(x).square().mean().backward()
    watcher.step()


def test_every_steps_and_elements_of_the_model_are_declared(recorder):
    model = model_of()
    model[2].bias.requires_grad_(False)
    with thermograd.watch(
        model, run="r", address=recorder.address, log_freq=5, include="^0"
    ) as watcher:
        step(model, watcher)
    sampling = recorder.specs[0].sampling
    assert sampling.every_steps == 5
    assert sampling.model_elements == 6 * 40 + 40 + 2 * 40


def test_a_probe_draws_the_same_samples_in_every_run(recorder):
    inputs, ids = torch.randn(20, 6), [f"sample-{i}" for i in range(20)]
    drawn = []
    for run in ("a", "b"):
        model = model_of()
        state = torch.get_rng_state()
        probe = thermograd.Probe("held-out", inputs, ids, samples=7)
        with thermograd.watch(
            model, run=run, address=recorder.address, probes=[probe], log_freq=1
        ) as watcher:
            step(model, watcher)
        assert torch.equal(torch.get_rng_state(), state)
        (declared,) = recorder.specs[-1].probe_sets
        assert (declared.name, declared.samples, declared.sampled_from) == ("held-out", 7, 20)
        chosen = probe.probe_set.ids
        assert len(set(chosen)) == 7 and chosen == sorted(chosen, key=ids.index)
        assert declared.fingerprint == hashlib.sha256("\n".join(chosen).encode()).digest()
        rows = [ids.index(name) for name in chosen]
        found = recorder.named(recorder.steps[-1], ACTIVATION)["held-out:1", 0]
        numpy.testing.assert_array_equal(
            found, torch.relu(model[0](inputs[rows])).detach().numpy()
        )
        drawn.append(chosen)
    assert drawn[0] == drawn[1]
    other = thermograd.Probe("other", inputs, ids, samples=7).probe_set.ids
    assert other != drawn[0]


def test_a_probe_of_few_samples_is_whole():
    probe = thermograd.Probe("p", torch.randn(4, 6), range(4), samples=9)
    assert probe.probe_set == thermograd.declaration.ProbeSet("p", range(4))
    with pytest.raises(ValueError, match="samples"):
        thermograd.Probe("p", torch.randn(4, 6), range(4), samples=0)


def test_wide_activations_are_projected_by_one_matrix_a_step(recorder):
    model = model_of()
    state = torch.get_rng_state()
    with thermograd.watch(
        model, run="r", address=recorder.address, log="all", project_width=8, log_freq=1
    ) as watcher:
        for _ in range(2):
            # Both microbatches have the same inputs.
            for _ in range(2):
                step_inputs = torch.ones(5, 6)
                model(step_inputs).mean().backward()
            watcher.step()
    assert torch.equal(torch.get_rng_state(), state)
    (layer,) = recorder.specs[0].layers
    assert (layer.name, layer.width, layer.projected_from) == ("1", 8, 40)
    found = [recorder.named(s, ACTIVATION) for s in recorder.steps]
    for activations in found:
        assert activations["1", 0].shape == (5, 8)
        numpy.testing.assert_array_equal(activations["1", 0], activations["1", 1])
    assert abs(found[0]["1", 0] - found[1]["1", 0]).max() > 1e-3


def test_narrow_activations_are_as_they_are(recorder):
    model = model_of()
    with thermograd.watch(
        model, run="r", address=recorder.address, log="all", project_width=40, log_freq=1
    ) as watcher:
        step(model, watcher)
    (layer,) = recorder.specs[0].layers
    assert (layer.width, layer.projected_from) == (40, 0)


def test_products_of_projections_are_without_bias():
    """E[x R R' y'] = x y' within four standard errors, for more rows than a block has."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5000, generator=generator, dtype=torch.float64)
    projection = RandomProjection(16)
    grams = []
    for _ in range(200):
        projection.begin_step()
        projected = projection.project("layer", x)
        assert torch.equal(projected, projection.project("layer", x))
        grams.append(projected @ projected.T)
    grams = torch.stack(grams)
    error = grams.std(0) / len(grams) ** 0.5
    # Each entry varies by (|x|^2 |y|^2 + <x, y>^2) / k.
    squares = x.square().sum(1)
    expected = ((squares[:, None] * squares + (x @ x.T) ** 2) / 16).sqrt()
    assert torch.all((grams.std(0) / expected - 1).abs() < 0.3)
    assert torch.all((grams.mean(0) - x @ x.T).abs() < 4 * error)


def test_wrong_width():
    with pytest.raises(ValueError, match="project_width"):
        thermograd.watch(model_of(), run="r", project_width=0, log_freq=1)
