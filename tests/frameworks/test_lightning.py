"""A real Trainer of Lightning streams what it does, and does the same without the callback."""

import logging

import numpy
import pytest

torch = pytest.importorskip("torch")
try:
    import lightning.pytorch as lightning
except ModuleNotFoundError:
    lightning = pytest.importorskip("pytorch_lightning")

from thermograd.lightning import ThermogradCallback  # noqa: E402

import debian_pytorch  # noqa: E402
import streamed_run  # noqa: E402
from recording_server import ACTIVATION  # noqa: E402

SAMPLES, BATCH = 40, 4

debian_pytorch.let_modules_be_made(lightning.LightningModule)


class Classifier(lightning.LightningModule):
    """A network whose training step calls its parts, or itself, with two parameter groups."""

    def __init__(self, calls_itself=False):
        super().__init__()
        torch.set_num_threads(1)
        torch.manual_seed(5)
        self.first = torch.nn.Linear(6, 8)
        self.activation = torch.nn.ReLU()
        self.second = torch.nn.Linear(8, 3)
        self._calls_itself = calls_itself
        self.losses = []

    def forward(self, x):
        return self.second(self.activation(self.first(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        output = self(x) if self._calls_itself else Classifier.forward(self, x)
        loss = torch.nn.functional.cross_entropy(output, y)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self(batch[0])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(
            [
                {"params": self.first.parameters(), "lr": 0.2, "name": "first"},
                {"params": self.second.parameters(), "lr": 0.1, "name": "second"},
            ],
            lr=0.1,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def loader():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(SAMPLES, 6, generator=generator)
    y = torch.randint(3, (SAMPLES,), generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=BATCH)


def train(folder, callbacks, *, module=None, accumulate=2, epochs=1, **arguments):
    """Trains on the CPU; ten batches an epoch, looked at in evaluation mode after each."""
    module = module or Classifier()
    trainer = lightning.Trainer(
        default_root_dir=folder, accelerator="cpu", devices=1, max_epochs=epochs, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accumulate_grad_batches=accumulate, callbacks=callbacks, num_sanity_val_steps=2,
        **arguments,
    )  # fmt: skip
    trainer.fit(module, loader(), loader())
    return module


def final_weights(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


@pytest.mark.parametrize("calls_itself", [False, True])
def test_microbatches_and_learning_rates_are_those_of_the_trainer(
    recorder, tmp_path, calls_itself
):
    callback = ThermogradCallback(
        "lightning", address=recorder.address, log=["gradients", "parameters", "activations"],
        log_freq=1,
    )
    module = train(tmp_path, [callback], module=Classifier(calls_itself))
    assert callback.stats.hook_errors == 0
    assert [step.begin.step for step in recorder.steps] == list(range(5))
    streamed_run.check_plain_sgd(recorder, final_weights(module))
    for number, step in enumerate(recorder.steps):
        assert (step.begin.microbatches, step.begin.microbatch_size) == (2, BATCH)
        rates = {group.group: group.learning_rate for group in step.begin.groups}
        assert rates == pytest.approx({"first": 0.2 * 0.9**number, "second": 0.1 * 0.9**number})
        outputs = recorder.named(step, ACTIVATION)
        assert set(outputs) == {("activation", 0), ("activation", 1)}
    losses = numpy.reshape(module.losses, (5, 2)).mean(1)
    assert [step.begin.loss for step in recorder.steps] == pytest.approx(losses)


def test_a_last_step_of_fewer_microbatches(recorder, tmp_path):
    callback = ThermogradCallback("lightning", address=recorder.address, log_freq=1)
    module = train(tmp_path, [callback], accumulate=4, epochs=2)
    assert [step.begin.microbatches for step in recorder.steps] == [4, 4, 2] * 2
    streamed_run.check_plain_sgd(recorder, final_weights(module))


def test_training_is_bit_identical_with_and_without(recorder, tmp_path):
    callback = ThermogradCallback("lightning", address=recorder.address, log_freq=1, log="all")
    watched = train(tmp_path, [callback], gradient_clip_val=0.1)
    alone = train(tmp_path, [], gradient_clip_val=0.1)
    for (name, one), other in zip(watched.named_parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert recorder.steps


def test_figures_arrive(server, tmp_path):
    callback = ThermogradCallback("lightning-figures", address=server.grpc_address, log_freq=1)
    module = train(tmp_path, [callback])
    assert callback.stats.acknowledged_steps == 5
    found = streamed_run.figures(server, "lightning-figures")
    assert found["thermograd_gradient_covariance_trace"] > 0
    assert found["thermograd_entropy_term"] > 0
    assert found["thermograd_loss"] == pytest.approx(numpy.mean(module.losses[-2:]))


def test_loss_scale_of_mixed_precision_is_undone(recorder, tmp_path):
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("this PyTorch has no GradScaler for the CPU")
    from lightning.pytorch.plugins.precision import MixedPrecision

    # Autocasting to bfloat16 with a scaler, as with half precision, but for any device.
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))
    precision.forward_context = lambda: torch.autocast("cpu", enabled=False)
    callback = ThermogradCallback("lightning", address=recorder.address, log_freq=1)
    module = train(tmp_path, [callback], plugins=[precision])
    assert {step.begin.loss_scale for step in recorder.steps} == {4.0}
    streamed_run.check_plain_sgd(recorder, final_weights(module))


def test_errors_never_reach_the_training(tmp_path, caplog):
    with pytest.raises(TypeError, match="no option speed"):
        ThermogradCallback("lightning", speed=1)
    with caplog.at_level(logging.WARNING, "thermograd"):
        module = train(
            tmp_path, [ThermogradCallback("lightning", layers=["absent"], log="all")]
        )
    assert len(module.losses) == 10
    assert "the model has no module named absent" in caplog.text


def test_a_training_that_is_broken_off_ends_its_run(recorder, tmp_path):
    class Broken(Classifier):
        def training_step(self, batch, batch_idx):
            if batch_idx == 5:
                raise RuntimeError("broken")
            return super().training_step(batch, batch_idx)

    callback = ThermogradCallback("lightning", address=recorder.address, log_freq=1)
    with pytest.raises(RuntimeError, match="broken"):
        train(tmp_path, [callback], module=Broken())
    assert [step.begin.step for step in recorder.steps] == [0, 1]
    assert callback.stats.acknowledged_steps == 2
