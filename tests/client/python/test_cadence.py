"""Which steps and tensors are streamed: by a file, and as the server asks while the job runs."""

import json
import logging
import os
import pathlib
import re
import subprocess
import sys

import pytest
import thermograd
import thermograd.v1
import torch
from torch import nn

from recording_server import ACTIVATION, GRADIENT
from system_support import COMMAND_LINE, ROOT, eventually, service, service_grpc
from thermograd.v1 import run_pb2


def model_of():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))


class Training:
    """A loop; given its watcher it has each step acknowledged: a request is heard in time."""

    def __init__(self, model=None):
        self.model = model or model_of()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.step = 0

    def watch(self, address, run="r", **options):
        options.setdefault("log_freq", 1)
        return thermograd.watch(self.model, self.optimizer, run=run, address=address, **options)

    def run(self, steps, watcher=None):
        for _ in range(steps):
            generator = torch.Generator().manual_seed(self.step)
            self.step += 1
            self.optimizer.zero_grad()
            for _ in range(2):
                x = torch.randn(3, 4, generator=generator)
                self.model(x).square().mean().backward()
            self.optimizer.step()
            if watcher is not None:
                assert watcher.flush(60)


def numbers(recorder):
    return [step.begin.step for step in recorder.steps]


def assert_nothing_lost(watcher, recorder):
    stats = watcher.stats
    assert stats.captured_steps == stats.acknowledged_steps == stats.sent_steps
    assert (stats.captured_steps, stats.dropped_steps) == (len(recorder.steps), 0)
    assert stats.hook_errors == 0 and stats.last_error is None
    assert numbers(recorder) == sorted(set(numbers(recorder)))


def parameters_of(spec):
    return [parameter.name for parameter in spec.parameters]


def test_a_request_is_taken_up_between_two_steps(recorder):
    # Asked during step 2, when its update has been made: the step after it is as before.
    recorder.cadences = {2: run_pb2.Cadence(every_steps=3), 12: run_pb2.Cadence(last_step=16)}
    training = Training()
    with training.watch(recorder.address) as watcher:
        training.run(25, watcher)
    assert numbers(recorder) == [0, 1, 2, 3, 6, 9, 12, 15]
    assert_nothing_lost(watcher, recorder)
    # What the figures are a sample of is declared.
    assert [spec.sampling.every_steps for spec in recorder.specs] == [1, 3]
    assert recorder.specs[1].resume_after_step == 3
    # A window is no matter of the declaration.
    assert watcher.stats.reconnects == 1


def test_a_window_that_ended_may_be_opened_again(recorder):
    recorder.cadences = {1: run_pb2.Cadence(last_step=3)}
    training = Training()
    with training.watch(recorder.address) as watcher:
        training.run(8, watcher)
        assert numbers(recorder) == [0, 1, 2, 3]
        # The stream is still open, or nobody could ask.
        watcher._on_cadence(run_pb2.Cadence(first_step=11, last_step=14, every_steps=2))
        training.run(8, watcher)
    assert numbers(recorder) == [0, 1, 2, 3, 11, 13]
    assert_nothing_lost(watcher, recorder)


@pytest.mark.parametrize("mode", ["tensors", "statistics"])
def test_another_selection_is_another_declaration_with_the_same_ids(recorder, mode):
    recorder.cadences = {
        1: run_pb2.Cadence(exclude=r"^2\."),
        4: run_pb2.Cadence(exclude="", include="weight"),
        7: run_pb2.Cadence(include=""),
    }
    training = Training()
    with training.watch(recorder.address, mode=mode, log="all") as watcher:
        training.run(11, watcher)
    assert numbers(recorder) == list(range(11))
    assert_nothing_lost(watcher, recorder)
    everything = list(dict(training.model.named_parameters()))
    weights = ["0.weight", "2.weight", "4.weight"]
    ends = ["0.weight", "0.bias", "4.weight", "4.bias"]
    assert [parameters_of(spec) for spec in recorder.specs] == [
        everything, ends, weights, everything,
    ]  # fmt: skip
    assert [spec.resume_after_step for spec in recorder.specs] == [0, 2, 5, 8]
    ids = {p.name: p.id for p in recorder.specs[0].parameters}
    layers = {layer.name: layer.id for layer in recorder.specs[0].layers}
    for spec in recorder.specs:
        assert all(ids[p.name] == p.id for p in spec.parameters)
        assert {layer.name: layer.id for layer in spec.layers} == layers
        declared = {p.id for p in spec.parameters}
        members = {
            int(number) for number in re.findall(r"parameter_id: (\d+)", str(spec.symmetries))
        }
        assert members <= declared
    symmetries = [{s.name for s in spec.symmetries} for spec in recorder.specs]
    # A symmetry is measured where all of its parameters are watched, and comes back with them.
    assert symmetries[0] == symmetries[3] != set() and symmetries[1] == set()
    # Each step has just what its declaration says.
    for step in recorder.steps:
        spec = recorder.specs[(step.begin.step > 2) + (step.begin.step > 5) + (step.begin.step > 8)]
        declared = {p.id for p in spec.parameters}
        if mode == "tensors":
            assert {number for number, _ in step.tensors(GRADIENT)} == declared
        else:
            of_parameters, of_symmetries = step.sums()
            assert set(of_parameters) == declared
            assert set(of_symmetries) <= {s.name for s in spec.symmetries}


@pytest.mark.parametrize("mode", ["tensors", "statistics"])
def test_a_given_symmetry_is_measured_while_its_parameters_are_watched(recorder, mode):
    recorder.cadences = {1: run_pb2.Cadence(exclude="2.weight"), 4: run_pb2.Cadence(exclude="")}
    given = [
        thermograd.NeuronRescaling("first", "0.weight", "2.weight", "0.bias"),
        thermograd.LogitTranslation("second", "4.weight", "4.bias"),
    ]
    training = Training()
    with training.watch(recorder.address, mode=mode, symmetries=given) as watcher:
        training.run(8, watcher)
    assert_nothing_lost(watcher, recorder)
    declared = [[s.name for s in spec.symmetries] for spec in recorder.specs]
    assert declared == [["first", "second"], ["second"], ["first", "second"]]


def test_layers_are_changed_and_keep_their_ids(recorder):
    recorder.cadences = {
        1: run_pb2.Cadence(layers=run_pb2.LayerSelection(names=["2", "3", "output"])),
        4: run_pb2.Cadence(layers=run_pb2.LayerSelection()),
        7: run_pb2.Cadence(layers=run_pb2.LayerSelection(names=["1"])),
    }
    training = Training()
    probe = thermograd.Probe("p", torch.randn(5, 4), range(5), every=4, layers=["0"])
    with training.watch(
        recorder.address, log=["gradients", "activations"], probes=[probe]
    ) as watcher:
        training.run(11, watcher)
    assert_nothing_lost(watcher, recorder)
    ids = [{layer.name: layer.id for layer in spec.layers} for spec in recorder.specs]
    assert [set(found) - {"p:0"} for found in ids] == [
        {"1", "3"}, {"2", "3", "output"}, set(), {"1"},
    ]  # fmt: skip
    together = {}
    for found in ids:
        assert all(together.setdefault(name, number) == number for name, number in found.items())
        assert "p:0" in found
    numbers_of = set(together.values()) | {p.id for p in recorder.specs[0].parameters}
    assert len(numbers_of) == len(together) + len(recorder.specs[0].parameters)
    # Of the two microbatches both.
    sent = [
        {number for number, _ in step.tensors(ACTIVATION)} - {together["p:0"]}
        for step in recorder.steps
    ]
    names = [{"1", "3"}] * 3 + [{"2", "3", "output"}] * 3 + [set()] * 3 + [{"1"}] * 2
    assert sent == [{together[name] for name in each} for each in names]
    probed = [s.begin.step for s in recorder.steps if (together["p:0"], 0) in s.tensors(ACTIVATION)]
    assert probed == [0, 4, 8]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (run_pb2.Cadence(include="nothing"), "no trainable"),
        (run_pb2.Cadence(include="("), "unterminated"),
        (run_pb2.Cadence(layers=run_pb2.LayerSelection(names=["1", "absent"])), "absent"),
        (run_pb2.Cadence(last_step=0, first_step=1), "comes before"),
    ],
)
def test_what_cannot_be_followed_is_said_once_and_changes_nothing(recorder, caplog, request_, text):
    request_.every_steps = 2
    recorder.cadences = {1: request_}
    training = Training()
    with caplog.at_level(logging.WARNING, "thermograd"):
        with training.watch(recorder.address) as watcher:
            training.run(5, watcher)
    assert numbers(recorder) == list(range(5)) and len(recorder.specs) == 1
    assert_nothing_lost(watcher, recorder)
    (record,) = caplog.records
    assert text in record.getMessage()


def test_trainers_of_one_run_change_their_steps_together_and_keep_the_rest(recorder, caplog):
    request = run_pb2.Cadence(every_steps=4, exclude="bias")
    recorder.cadences = {7: request, 9: request}
    training = Training()
    with training.watch(recorder.address) as watcher:
        # Each of several trainers; one alone is enough to see what it does.
        training.run(1, watcher)
        watcher._world_size = 2
        training.run(27, watcher)
    # Asked in step 7 and in step 9, or at both by two trainers: all begin with step 20.
    assert numbers(recorder) == [*range(20), 20, 24]
    assert len(recorder.specs) == 1
    assert caplog.text.count("are not followed") == 1


def test_training_is_the_same_to_the_bit(recorder):
    recorder.cadences = {
        1: run_pb2.Cadence(every_steps=2, exclude="bias"),
        4: run_pb2.Cadence(layers=run_pb2.LayerSelection(names=["0"])),
        8: run_pb2.Cadence(last_step=10),
    }
    alone, watched = Training(), Training()
    alone.run(14)
    with watched.watch(recorder.address, log="all") as watcher:
        watched.run(14, watcher)
    assert len(recorder.specs) == 3
    for expected, found in zip(alone.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(expected, found)
    # Nothing is left on the model.
    for module in watched.model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert all(not p._backward_hooks for p in watched.model.parameters())


def test_steps_that_wait_keep_the_declaration_that_they_were_captured_under(recorder):
    training = Training()
    recorder.acknowledges.clear()
    with training.watch(recorder.address) as watcher:
        training.run(3)
        watcher._on_cadence(run_pb2.Cadence(include="weight"))
        training.run(4)
        recorder.acknowledges.set()
        assert watcher.flush(60)
    assert numbers(recorder) == list(range(7))
    assert_nothing_lost(watcher, recorder)
    counts = [len(step.tensors(GRADIENT)) // 2 for step in recorder.steps]
    assert counts == [6] * 4 + [3] * 3
    assert [len(spec.parameters) for spec in recorder.specs] == [6, 3]


def test_a_file_says_what_the_server_may_ask_for(recorder, tmp_path):
    file = tmp_path / "cadence.json"
    file.write_text(
        '{"everySteps": 3, "firstStep": "4", "lastStep": "11", "exclude": "bias",'
        ' "layers": {"names": ["3"]}}'
    )
    training = Training()
    with training.watch(
        recorder.address, cadence=file, log_freq=2, include="0|2", exclude="weight",
        log=["gradients", "activations"],
    ) as watcher:  # fmt: skip
        training.run(20, watcher)
    assert numbers(recorder) == [4, 7, 10]
    (spec,) = recorder.specs
    assert parameters_of(spec) == ["0.weight", "2.weight"]
    assert [layer.name for layer in spec.layers] == ["3"]
    assert spec.sampling.every_steps == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"every": 3}', "every"),
        ("every_steps: 3", "cadence.json"),
        ('{"everySteps": 0}', "every_steps"),
        ('{"lastStep": 3, "firstStep": 4}', "last_step"),
        ('{"include": "nothing"}', "no trainable"),
        ('{"layers": {"names": ["absent"]}}', "absent"),
    ],
)
def test_a_wrong_file_is_an_error_of_the_caller(tmp_path, text, message):
    file = tmp_path / "cadence.json"
    file.write_text(text)
    model = model_of()
    with pytest.raises(ValueError, match=message):
        thermograd.watch(model, run="r", cadence=file, log_freq=1)
    with pytest.raises(OSError):
        thermograd.watch(model, run="r", cadence=tmp_path / "absent.json", log_freq=1)
    assert all(not p._backward_hooks for p in model.parameters())


def ask(server, run, *flags, streams="1 stream"):
    done = subprocess.run(
        [COMMAND_LINE, "cadence", run, f"--address={server.grpc_address}", *flags],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"asked {streams}\n"), done.stderr


def test_the_command_line_changes_a_run_that_trains(server):
    """The built server, its command line, and what it then shows."""
    reported = []
    alone, training = Training(), Training()
    alone.run(24)

    def ask_and_wait(*flags):
        ask(server, "changed", *flags)
        # The answer says that the client was asked, not that it has heard.
        assert eventually(lambda: len(watcher._requests) == 1)

    def parameters_shown():
        return {
            dict(labels).get("parameter")
            for name, labels in server.scrape()
            if dict(labels).get("run") == "changed" and "parameter" in dict(labels)
        }

    with training.watch(
        server.grpc_address, "changed", on_report=lambda report: reported.append(report.step)
    ) as watcher:
        training.run(3, watcher)
        assert {"0.bias", "2.weight"} <= parameters_shown()
        ask_and_wait("--every=3")
        training.run(7, watcher)
        assert reported == [0, 1, 2, 3, 6, 9]
        ask_and_wait(r"--exclude=^2\.")
        training.run(6, watcher)
        assert reported[6:] == [12, 15]
        assert "0.bias" in parameters_shown() and "2.weight" not in parameters_shown()
        assert not any("2.weight" in dict(labels).values() for _, labels in watcher.metrics())
        ask_and_wait("--to_step=18")
        training.run(8, watcher)
        assert reported[8:] == [18]
        stats = watcher.stats
        assert stats.last_acknowledged_step == 18
    assert stats.captured_steps == stats.acknowledged_steps == stats.sent_steps == len(reported)
    assert stats.dropped_steps == stats.hook_errors == 0 and stats.last_error is None
    for expected, found in zip(alone.model.parameters(), training.model.parameters(), strict=True):
        assert torch.equal(expected, found)


TRAINER = """
import json, sys, time
import thermograd, torch
from torch import nn

rank, rendezvous, address = json.loads(sys.argv[1])
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
)
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
reported = []
with thermograd.watch(
    model, optimizer, run="ranks", address=address, log_freq=1,
    on_report=lambda report: reported.append(report.step),
) as watcher:
    for step in range(30):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        if step == 4:
            assert watcher.flush(60)
            print("ready", flush=True)
            while not watcher._requests:
                time.sleep(0.01)
    assert watcher.flush(60)
    stats = watcher.stats
    assert stats.acknowledged_steps == stats.captured_steps and stats.hook_errors == 0
    assert stats.reconnects == 0 and stats.last_error is None, stats
print(json.dumps(reported))
"""


def test_trainers_of_one_run_follow_the_command_line_together(server, tmp_path):
    packages = pathlib.Path(thermograd.v1.__file__).resolve().parents[2]
    trainers = [
        subprocess.Popen(
            [sys.executable, "-c", TRAINER,
             json.dumps([rank, str(tmp_path / "rendezvous"), server.grpc_address])],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": f"{packages}:{ROOT / 'client/python'}"},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        assert [trainer.stdout.readline() for trainer in trainers] == ["ready\n"] * 2
        ask(server, "ranks", "--every=4", "--exclude=bias", streams="2 streams")
        answers = [trainer.communicate(timeout=120)[0] for trainer in trainers]
    finally:
        for trainer in trainers:
            trainer.kill()
            trainer.wait()
    assert [json.loads(answer) for answer in answers] == [[*range(20), 20, 24, 28]] * 2


def test_a_synchronous_stream_hears_the_request(server):
    heard = []
    spec = thermograd.run_spec("heard", parameters={"w": (3,)})
    with thermograd.RunStream(server.grpc_address, spec, on_cadence=heard.append) as stream:
        with server.channel() as channel:
            service_grpc.TrainingAnalysisServiceStub(channel).SetCadence(
                service.SetCadenceRequest(run="heard", cadence=run_pb2.Cadence(every_steps=5))
            )
        stream.begin_step(1)
        stream.send("w", thermograd.GRADIENT, torch.ones(3))
        stream.end_step()
    assert heard == [run_pb2.Cadence(every_steps=5)]
