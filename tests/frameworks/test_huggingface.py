"""A real Trainer of transformers streams what it does, and does the same without the callback."""

import logging

import numpy
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import accelerate  # noqa: E402
from thermograd.huggingface import ThermogradCallback  # noqa: E402

import debian_pytorch  # noqa: E402
import streamed_run  # noqa: E402
from recording_server import GRADIENT  # noqa: E402

debian_pytorch.let_data_be_loaded(transformers.TrainingArguments)
VOCABULARY, LENGTH, SAMPLES, BATCH = 37, 8, 40, 4


class Sentences(torch.utils.data.Dataset):
    """Random token sequences."""

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self._tokens = torch.randint(VOCABULARY, (SAMPLES, LENGTH), generator=generator)

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        # Nothing predicts the first token.
        labels = self._tokens[index].clone()
        labels[0] = -100
        return {"input_ids": self._tokens[index], "labels": labels}


def model():
    torch.set_num_threads(1)
    torch.manual_seed(5)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=16, n_layer=2, n_head=2,
            resid_pdrop=0.1, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


def optimizer_of(network):
    """SGD with a group for each kind of parameter, whose learning rates differ."""
    named = list(network.named_parameters())
    return torch.optim.SGD(
        [
            {"params": [p for _, p in named if p.dim() > 1], "lr": 0.2, "name": "matrices"},
            {"params": [p for _, p in named if p.dim() == 1], "lr": 0.05, "name": "vectors"},
        ],
        lr=0.1,
    )


def train(folder, callbacks, *, steps=5, **arguments):
    """Trains with a decaying learning rate and two microbatches a step."""
    network = model()
    optimizer = optimizer_of(network)
    settings = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=2, logging_steps=1, report_to=[], save_strategy="no",
        max_grad_norm=0.0, use_cpu=True, disable_tqdm=True, seed=1, **arguments,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=network,
        args=settings,
        train_dataset=Sentences(),
        optimizers=(
            optimizer,
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
        ),
        callbacks=callbacks,
    )
    trainer.train()
    return trainer


def final_weights(network):
    return {name: p.detach().numpy() for name, p in network.named_parameters()}


def test_microbatches_and_learning_rates_are_those_of_the_trainer(recorder, tmp_path):
    callback = ThermogradCallback("hf", address=recorder.address, log_freq=1)
    trainer = train(tmp_path, [callback])
    assert callback.stats.hook_errors == 0
    assert [step.begin.step for step in recorder.steps] == list(range(5))
    streamed_run.check_plain_sgd(recorder, final_weights(trainer.model))
    for number, step in enumerate(recorder.steps):
        assert (step.begin.microbatches, step.begin.microbatch_size) == (2, BATCH)
        rates = {group.group: group.learning_rate for group in step.begin.groups}
        assert rates == pytest.approx(
            {"matrices": 0.2 * 0.9**number, "vectors": 0.05 * 0.9**number}
        )
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [step.begin.loss for step in recorder.steps] == pytest.approx(logged)
    # The logged mean loss is that of random tokens, not a sum or a half.
    assert logged[0] == pytest.approx(numpy.log(VOCABULARY), rel=0.1)


def test_training_is_bit_identical_with_and_without(recorder, tmp_path):
    callback = ThermogradCallback("hf", address=recorder.address, log_freq=1, log="all")
    watched = train(tmp_path, [callback]).model
    alone = train(tmp_path, []).model
    for (name, one), other in zip(watched.named_parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert recorder.steps


def test_figures_arrive(server, tmp_path):
    callback = ThermogradCallback(address=server.grpc_address, log_freq=1)
    arguments = {"run_name": "hf-figures"}
    train(tmp_path, [callback], **arguments)
    assert callback.stats.acknowledged_steps == 5
    found = streamed_run.figures(server, "hf-figures")
    assert found["thermograd_gradient_covariance_trace"] > 0
    assert found["thermograd_entropy_term"] > 0
    assert found["thermograd_loss"] == pytest.approx(numpy.log(VOCABULARY), rel=0.1)


def test_a_resumed_training_goes_on_counting(recorder, tmp_path):
    network = model()
    callback = ThermogradCallback("hf", address=recorder.address, log_freq=1)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), report_to=[], per_device_train_batch_size=BATCH, use_cpu=True
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    state = transformers.TrainerState()
    state.global_step = 7
    control = transformers.TrainerControl()
    callback.on_train_begin(arguments, state, control, model=network, optimizer=optimizer)
    tokens = Sentences()[0]["input_ids"][None]
    network(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    callback.on_train_end(arguments, state, control)
    assert [step.begin.step for step in recorder.steps] == [7]


def test_loss_scale_of_the_accelerated_optimizer_is_undone(recorder, tmp_path):
    """What the Trainer does with half precision, with a scaler that runs anywhere."""
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("this PyTorch has no GradScaler for the CPU")
    network = torch.nn.Linear(3, 2)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    accelerate.Accelerator(cpu=True)
    optimizer = accelerate.optimizer.AcceleratedOptimizer(
        torch.optim.SGD(network.parameters(), lr=0.1), device_placement=False, scaler=scaler
    )
    callback = ThermogradCallback("hf", address=recorder.address, log_freq=1)
    state, control = transformers.TrainerState(), transformers.TrainerControl()
    callback.on_train_begin(arguments, state, control, model=network, optimizer=optimizer)
    for number in range(4):
        loss = network(torch.ones(BATCH, 3)).square().mean()
        if number == 1:
            loss = loss * torch.inf
        scaler.scale(loss).backward()
        optimizer.step()
        assert optimizer.step_was_skipped == (number == 1)
        network.zero_grad()
        callback.on_step_end(arguments, state, control)
    callback.on_train_end(arguments, state, control)
    assert [step.begin.loss_scale for step in recorder.steps] == [8.0, 8.0, 16.0]
    assert [step.begin.microbatches for step in recorder.steps] == [1, 1, 1]
    streamed_run.check_plain_sgd(recorder, final_weights(network))


def test_errors_never_reach_the_training(tmp_path, caplog):
    with pytest.raises(TypeError, match="no option speed"):
        ThermogradCallback("hf", speed=1)
    with caplog.at_level(logging.WARNING, "thermograd"):
        trainer = train(tmp_path, [ThermogradCallback("hf", layers=["absent"], log="all")], steps=2)
    assert trainer.state.global_step == 2
    assert "the model has no module named absent" in caplog.text


def test_a_second_training_is_a_second_run(recorder, tmp_path):
    callback = ThermogradCallback("hf", address=recorder.address, log_freq=1)
    train(tmp_path, [callback], steps=2)
    train(tmp_path, [callback], steps=3)
    assert len(recorder.specs) == 2
    assert [step.begin.step for step in recorder.steps] == [0, 1, 0, 1, 2]
    assert any(recorder.steps[-1].tensors(GRADIENT))
