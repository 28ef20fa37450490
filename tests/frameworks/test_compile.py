"""Models compiled by torch.compile are watched like others."""

import warnings

import pytest

torch = pytest.importorskip("torch")
if not hasattr(torch, "compile"):
    pytest.skip("this PyTorch has no torch.compile", allow_module_level=True)

import thermograd  # noqa: E402

import streamed_run  # noqa: E402
from recording_server import ACTIVATION, GRADIENT  # noqa: E402

BATCH, STEPS, MICROBATCHES = 4, 3, 2


def network():
    torch.set_num_threads(1)
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def train(model, parameters, watch):
    """Trains by plain SGD; the losses."""
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    watcher = watch(optimizer)
    generator = torch.Generator().manual_seed(3)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        for _ in range(MICROBATCHES):
            loss = model(torch.randn(BATCH, 6, generator=generator)).square().mean()
            (loss / MICROBATCHES).backward()
            losses.append(loss.item())
        optimizer.step()
    if watcher is not None:
        watcher.close()
        assert watcher.stats.hook_errors == 0
    return losses


def final_weights(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("watched", ["compiled", "inside", "in place"])
def test_a_compiled_model_is_watched_and_trains_the_same(recorder, backend, watched):
    def compiled(inside):
        torch._dynamo.reset()
        if watched != "in place":
            return torch.compile(inside, backend=backend)
        inside.compile(backend=backend)
        return inside

    def watch(optimizer):
        return thermograd.watch(
            inside if watched == "inside" else model, optimizer, run="compiled",
            address=recorder.address, accumulation="mean",
            log=["gradients", "parameters", "activations"], log_freq=1,
        )  # fmt: skip

    inside = network()
    model = compiled(inside)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Dynamo does not know")
        losses = train(model, inside.parameters(), watch)
    assert len(recorder.steps) == STEPS
    streamed_run.check_plain_sgd(recorder, final_weights(inside))
    for step in recorder.steps:
        assert (step.begin.microbatches, step.begin.microbatch_size) == (MICROBATCHES, BATCH)
        assert set(recorder.named(step, ACTIVATION)) == {("1", 0), ("1", 1)}
        assert {name for name, _ in recorder.named(step, GRADIENT)} == {
            "0.weight", "0.bias", "2.weight", "2.bias"
        }  # fmt: skip

    alone = network()
    assert train(compiled(alone), alone.parameters(), lambda _: None) == losses
    for one, other in zip(inside.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_model_compiled_and_trained_before_it_is_watched(recorder):
    inside = network()
    torch._dynamo.reset()
    model = torch.compile(inside, backend="aot_eager")
    train(model, inside.parameters(), lambda _: None)
    train(
        model,
        inside.parameters(),
        lambda optimizer: thermograd.watch(
            model,
            optimizer,
            run="compiled",
            address=recorder.address,
            accumulation="mean",
            log_freq=1,
        ),
    )
    assert [step.begin.microbatches for step in recorder.steps] == [MICROBATCHES] * STEPS
    streamed_run.check_plain_sgd(recorder, final_weights(inside))
