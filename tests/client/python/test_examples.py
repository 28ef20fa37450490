"""The real jobs run as commands, and show what their texts say."""

import runpy
import statistics
import sys

import pytest

from system_support import ROOT

EXAMPLES = ROOT / "client/python/examples"
JOBS = ["architectures", "cnn_angular_step", "gpt", "lora", "sgd_adam"]

sys.path.insert(0, str(EXAMPLES))

import architectures  # noqa: E402
import cnn_angular_step  # noqa: E402
import gpt  # noqa: E402
import lora  # noqa: E402
import sgd_adam  # noqa: E402


@pytest.mark.parametrize("name", JOBS)
def test_each_job_runs_as_a_command(server, tmp_path, monkeypatch, capsys, name):
    picture = tmp_path / "picture.png"
    arguments = ["--address", server.grpc_address, "--steps", "21", "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    # In this process: importing the frameworks takes longer than the jobs.
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert " -> " in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_job_is_in_the_table_with_its_picture():
    text = (EXAMPLES / "README.md").read_text()
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted([*JOBS, "job"])
    for name in JOBS:
        assert f"({name}.py)" in text and f"({name}.png)" in text
        assert (EXAMPLES / f"{name}.png").stat().st_size < 60_000


def test_the_angular_step_settles_where_theory_says(server):
    curves, names = cnn_angular_step.train(server.grpc_address, 600, run="angular-step")
    assert len(names) == 3
    expected = (2 * cnn_angular_step.LEARNING_RATE * cnn_angular_step.WEIGHT_DECAY) ** 0.5
    for name in names:
        key = f"angular_step_radians {name}"
        assert curves.last(f"angular_step_predicted_radians {name}") == pytest.approx(expected)
        # Far from it at first, so that arriving there means something.
        assert curves.first(key) < expected / 2
        assert curves.last(key, 100) == pytest.approx(expected, rel=0.1)


def test_lora_adapters_come_into_balance(server):
    curves, names = lora.train(server.grpc_address, 700, run="lora")
    assert len(names) == 2
    for name in names:
        assert curves.first(f"relative_charge_ratio {name}") > 0.95
        assert abs(curves.last(f"relative_charge_ratio {name}")) < 0.1
        assert max(curves.values(f"residual_ratio {name}")) < 1e-4
        assert curves.last(f"gradient_balance_ratio {name}") < 0.8


def test_charges_of_a_gpt_drift_as_predicted(server):
    curves = gpt.train(server.grpc_address, 12, run="gpt")
    assert curves.last("loss") < curves.first("loss") - 0.3
    for symmetry in gpt.symmetries():
        assert curves.last(f"charge_norm {symmetry.name}") > 0.5
        assert curves.last(f"residual_ratio {symmetry.name}") < 1e-4
        assert curves.last(f"charge_drift_error_ratio {symmetry.name}") < 1e-4


def test_the_optimiser_breaks_under_adam_and_noise_under_sgd(server):
    found = sgd_adam.train(server.grpc_address, 60, runs={"SGD": "sgd", "Adam": "adam"})
    breaking = {
        name: {term: sgd_adam.size(curves, term) for term in sgd_adam.TERMS}
        for name, curves in found.items()
    }
    assert breaking["SGD"]["optimizer_breaking"] < 1e-2 * breaking["SGD"]["entropic_breaking"]
    assert breaking["Adam"]["optimizer_breaking"] > 10 * breaking["Adam"]["entropic_breaking"]


def test_architectures_align(server):
    curves = architectures.train(
        server.grpc_address, 300, runs={"perceptron": "perceptron", "cnn": "cnn"}
    )
    before = statistics.fmean(curves.values("cka")[:3])
    assert curves.last("cka", 3) > before + 0.15
