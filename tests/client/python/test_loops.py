"""Loops that call parts of the model, or leave updates out, as those of frameworks do."""

import thermograd
import torch
from torch import nn

from recording_server import ACTIVATION, GRADIENT


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_microbatches_announced_by_a_loop_that_calls_parts_or_the_whole(recorder):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with thermograd.watch(
        model, optimizer, run="parts", address=recorder.address,
        log=["gradients", "activations"], log_freq=1,
    ) as watcher:  # fmt: skip
        for calls_whole in (False, True, False):
            optimizer.zero_grad()
            for _ in range(2):
                x = torch.randn(5, 3)
                watcher.begin_microbatch({"number": 7, "inputs": x})
                output = model(x) if calls_whole else model[2](model[1](model[0](x)))
                loss = output.square().mean()
                loss.backward()
                watcher.log(loss=loss)
            optimizer.step()
    assert watcher.stats.hook_errors == 0
    assert len(recorder.steps) == 3
    for step in recorder.steps:
        assert (step.begin.microbatches, step.begin.microbatch_size) == (2, 5)
        assert step.begin.loss > 0
        assert set(recorder.named(step, ACTIVATION)) == {("1", 0), ("1", 1)}


def test_gradients_of_an_update_left_out_are_discarded(recorder):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with thermograd.watch(
        model, optimizer, run="parts", address=recorder.address, log_freq=1
    ) as watcher:
        for number in range(3):
            loss = (number + 1) * model(torch.ones(2, 3)).sum()
            loss.backward()
            if number != 1:
                optimizer.step()
            model.zero_grad()
            watcher.discard()
    assert [step.begin.step for step in recorder.steps] == [0, 1]
    assert [step.begin.microbatches for step in recorder.steps] == [1, 1]
    biases = [recorder.named(step, GRADIENT)["2.bias", 0] for step in recorder.steps]
    assert [bias.tolist() for bias in biases] == [[2, 2], [6, 6]]


def test_by_default_every_16th_step_is_streamed(recorder):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with thermograd.watch(model, optimizer, run="default", address=recorder.address) as watcher:
        for _ in range(34):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).sum().backward()
            optimizer.step()
        assert watcher.flush()
    assert [step.begin.step for step in recorder.steps] == [0, 16, 32]
    assert recorder.specs[0].sampling.every_steps == 16
