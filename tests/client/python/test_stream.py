"""RunStream and compare against the running server."""

import os
import signal
import subprocess
import sys
from concurrent import futures

import grpc
import numpy
import pytest
import thermograd

from system_support import ROOT, Server, run
from thermograd import ACTIVATION, GRADIENT, RunStream, metric_key, run_spec

PARAMETERS = {"w": (2, 3)}


def send_step(stream, number, microbatches):
    stream.begin_step(
        number, loss=1.0, learning_rate=0.1, microbatch_size=8, microbatches=len(microbatches)
    )
    for microbatch, gradient in enumerate(microbatches):
        stream.send("w", GRADIENT, gradient, microbatch)
    return stream.end_step()


def test_a_report_for_each_step(server):
    random = numpy.random.default_rng(0)
    gradients = random.standard_normal((2, 2, 3))
    with RunStream(server.grpc_address, run_spec("stream", parameters=PARAMETERS)) as stream:
        assert stream.accepted.limits.max_chunk_bytes > 0
        assert stream.last_acknowledged_step is None
        for number in range(3):
            figures = send_step(stream, number, gradients)
            assert figures.step == number
            assert stream.last_acknowledged_step == number
            found = thermograd.report_values(figures)
            # tr Sigma_b of two microbatches is half the squared distance.
            assert found[metric_key("thermograd_gradient_covariance_trace")] == pytest.approx(
                ((gradients[0] - gradients[1]) ** 2).sum() / 2, rel=1e-12
            )


def test_small_chunks_give_the_same_report(server):
    gradients = numpy.random.default_rng(1).standard_normal((2, 2, 3))
    reports = []
    for chunk_bytes in (8, 1 << 20):
        spec = run_spec(f"chunks-{chunk_bytes}", parameters=PARAMETERS)
        with RunStream(server.grpc_address, spec, chunk_bytes=chunk_bytes) as stream:
            reports.append(thermograd.report_values(send_step(stream, 0, gradients)))
    assert reports[0] and reports[0] == reports[1]


def test_reports_may_be_left_out(server):
    spec = run_spec("sparse", parameters=PARAMETERS, report_every_steps=2)
    with RunStream(server.grpc_address, spec) as stream:
        reports = [send_step(stream, number, [numpy.ones((2, 3))]) for number in range(4)]
    assert [report is None for report in reports].count(True) == 2


def test_notices_are_handed_over(server):
    notices = []
    spec = run_spec("notices", parameters=PARAMETERS)
    with RunStream(server.grpc_address, spec, on_notice=notices.append) as stream:
        send_step(stream, 0, [numpy.full((2, 3), numpy.nan)])
    assert notices and notices[0].step == 0


def test_the_servers_reason_is_raised(server):
    stream = RunStream(server.grpc_address, run_spec("wrong", parameters=PARAMETERS))
    stream.begin_step(0)
    stream.send("w", GRADIENT, numpy.ones((3, 3)))
    with pytest.raises(grpc.RpcError) as error:
        stream.end_step()
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "shape" in error.value.details()
    for later in (lambda: stream.begin_step(1), stream.close):
        with pytest.raises(grpc.RpcError, match="shape"):
            later()


def test_wrong_use(server):
    with RunStream(server.grpc_address, run_spec("use", parameters=PARAMETERS)) as stream:
        with pytest.raises(ValueError, match="no step"):
            stream.end_step()
        stream.begin_step(0)
        with pytest.raises(KeyError):
            stream.send("lost", GRADIENT, numpy.ones(1))
        stream.send("w", GRADIENT, numpy.ones((2, 3)))
        stream.end_step()


def test_a_refused_declaration_and_an_absent_server(server):
    with pytest.raises(grpc.RpcError) as error:
        RunStream(server.grpc_address, run_spec(""))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as error:
        RunStream("127.0.0.1:9", run_spec("absent"))
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_silent_server_is_a_timeout():
    with Server() as own:
        stream = RunStream(
            own.grpc_address, run_spec("silent", parameters={"w": (1 << 22,)}), timeout=1.0
        )
        own.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                stream.begin_step(0)
                # More than the buffers hold.
                for microbatch in range(8):
                    stream.send("w", GRADIENT, numpy.zeros(1 << 22), microbatch)
                stream.end_step()
            with pytest.raises(TimeoutError):
                stream.close()
        finally:
            own.send_signal(signal.SIGCONT)


def test_a_run_goes_on_in_another_stream(server):
    spec = run_spec("resumed", parameters=PARAMETERS)
    with RunStream(server.grpc_address, spec) as stream:
        send_step(stream, 4, [numpy.ones((2, 3))])
    spec.resume_after_step = stream.last_acknowledged_step
    with RunStream(server.grpc_address, spec) as stream:
        assert send_step(stream, 5, [numpy.ones((2, 3))]).step == 5


def test_activations(server):
    x = numpy.random.default_rng(2).standard_normal((16, 3)).astype(numpy.float32)
    spec = run_spec("layers", layers=[thermograd.Layer("a", 3), thermograd.Layer("b", 3)])
    with RunStream(server.grpc_address, spec) as stream:
        stream.begin_step(0, microbatch_size=16)
        stream.send("a", ACTIVATION, x)
        stream.send("b", ACTIVATION, 2 * x)
        found = thermograd.report_values(stream.end_step())
    assert found[metric_key("thermograd_cka_ratio", layer="a", other="b")] == pytest.approx(1)


def test_groups_have_their_own_learning_rate(server):
    random = numpy.random.default_rng(4)
    spec = run_spec(
        "groups",
        parameters={"v": (4,), "w": (6,)},
        groups={"v": "slow", "w": "fast"},
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
    )
    gradients = {name: random.standard_normal((2, size)) for name, size in (("v", 4), ("w", 6))}
    rates = {"v": 0.1, "w": 0.5}
    with RunStream(server.grpc_address, spec) as stream:
        stream.begin_step(
            0, learning_rate=0.1, microbatch_size=8, microbatches=2, groups={"fast": (0.5, 0.0)}
        )
        for name, both in gradients.items():
            for microbatch, gradient in enumerate(both):
                stream.send(name, GRADIENT, gradient, microbatch)
        found = thermograd.report_values(stream.end_step())
    for name, group in (("v", "slow"), ("w", "fast")):
        # T = eta tr Sigma_B / (2 P), the batch of two microbatches being applied.
        trace = gradients[name].var(axis=0, ddof=1).sum()
        expected = rates[name] * trace / 2 / (2 * gradients[name].shape[1])
        assert found[metric_key("thermograd_group_temperature", group=group)] == pytest.approx(
            expected, rel=1e-12
        )


def test_curvature_from_the_gradient_after_the_update(server):
    random = numpy.random.default_rng(5)
    hessian = numpy.diag(random.uniform(1, 3, 6))
    theta = random.standard_normal(6)
    update = -0.1 * hessian @ theta
    kinds = [thermograd.UPDATE, thermograd.GRADIENT_AFTER_UPDATE]
    spec = run_spec("curvature", parameters={"w": (6,)}, parameter_kinds=kinds)
    with RunStream(server.grpc_address, spec) as stream:
        stream.begin_step(0, learning_rate=0.1)
        stream.send("w", GRADIENT, hessian @ theta)
        stream.send("w", thermograd.UPDATE, update)
        stream.send("w", thermograd.GRADIENT_AFTER_UPDATE, hessian @ (theta + update))
        found = thermograd.report_values(stream.end_step())
    assert found[metric_key("thermograd_directional_curvature")] == pytest.approx(
        update @ hessian @ update / (update @ update), rel=1e-12
    )


def test_noise_from_the_gradient_of_a_larger_batch(server):
    small, large = numpy.random.default_rng(6).standard_normal((2, 6)) * [[3.0], [1.0]]
    spec = run_spec(
        "reduced", parameters={"w": (6,)}, parameter_kinds=[thermograd.REDUCED_GRADIENT]
    )
    with RunStream(server.grpc_address, spec) as stream:
        stream.begin_step(0, microbatch_size=8, reduced_batch_size=32)
        stream.send("w", GRADIENT, small)
        stream.send("w", thermograd.REDUCED_GRADIENT, large)
        found = thermograd.report_values(stream.end_step())
    # McCandlish et al. 2018, appendix A.1, for batches of 8 and 32.
    expected = (small @ small - large @ large) / (1 / 8 - 1 / 32) / 8
    assert found[metric_key("thermograd_gradient_covariance_trace")] == pytest.approx(
        expected, rel=1e-12
    )


def test_shards_of_two_ranks_are_one_parameter(server):
    gradients = numpy.random.default_rng(7).standard_normal((2, 6, 3))

    def stream_half(rank):
        spec = run_spec(
            "sharded",
            parameters={"w": (6, 3)},
            shards={"w": thermograd.Shard(offset=(3 * rank, 0), shape=(3, 3))},
            gradient_scope="reduced",
            rank=rank,
            world_size=2,
        )
        with RunStream(server.grpc_address, spec) as stream:
            halves = gradients[:, 3 * rank : 3 * rank + 3]
            found = thermograd.report_values(send_step(stream, 0, list(halves)))
            return found[metric_key("thermograd_gradient_covariance_trace")]

    with futures.ThreadPoolExecutor(2) as both:
        traces = list(both.map(stream_half, range(2)))
    expected = gradients.var(axis=0, ddof=1).sum()
    assert traces == [pytest.approx(expected, rel=1e-12)] * 2


def test_chosen_similarities_and_the_alignment_with_gradients(server):
    random = numpy.random.default_rng(8)
    spec = run_spec(
        "chosen",
        layers=[thermograd.Layer("x", 4), thermograd.Layer("h", 3)],
        similarities=["cca", "rsa"],
    )
    x, h, gradient = (random.standard_normal((16, width)) for width in (4, 3, 3))
    with RunStream(server.grpc_address, spec) as stream:
        stream.begin_step(0, microbatch_size=16)
        stream.send("x", ACTIVATION, x)
        stream.send("h", ACTIVATION, h)
        stream.send("h", thermograd.ACTIVATION_GRADIENT, gradient)
        found = thermograd.report_values(stream.end_step())
    names = {name for name, _ in found}
    assert any("_cca_" in name for name in names) and any("_rsa" in name for name in names)
    # Those that a run has where nothing is chosen.
    assert not any("_cka_ratio" in name or "neighbour" in name for name in names)
    a, b = h.T @ h, gradient.T @ gradient
    key = metric_key("thermograd_alignment_representation_gradient_ratio", layer="h")
    assert found[key] == pytest.approx(
        (a * b).sum() / numpy.linalg.norm(a) / numpy.linalg.norm(b), rel=1e-9
    )


def test_a_script_that_leaves_its_stream_open_ends(server):
    script = (
        "import sys, numpy, thermograd\n"
        "spec = thermograd.run_spec('open', parameters={'w': (2,)})\n"
        "stream = thermograd.RunStream(sys.argv[1], spec)\n"
        "stream.begin_step(0)\n"
        "stream.send('w', thermograd.GRADIENT, numpy.ones(2))\n"
        "assert stream.end_step().step == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, server.grpc_address],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_compare(server):
    random = numpy.random.default_rng(3)
    x = random.standard_normal((32, 4))
    rotation, _ = numpy.linalg.qr(random.standard_normal((4, 4)))
    found = thermograd.compare(x, 3 * x @ rotation, address=server.grpc_address, ids=range(32))
    assert found[metric_key("thermograd_cka_ratio")] == pytest.approx(1, abs=1e-9)
    other = random.standard_normal((32, 2, 3)).astype(numpy.float32)
    found = thermograd.compare(x, other, address=server.grpc_address)
    centred = x - x.mean(0), other.reshape(32, 6) - other.reshape(32, 6).mean(0)
    norms = [numpy.linalg.norm(c.T @ c) for c in centred]
    expected = numpy.linalg.norm(centred[0].T @ centred[1]) ** 2 / norms[0] / norms[1]
    assert found[metric_key("thermograd_cka_ratio")] == pytest.approx(
        expected, rel=1e-5
    )


def test_what_cannot_be_compared(server):
    with pytest.raises(ValueError, match="dimension"):
        thermograd.compare(1.0, [1.0], address=server.grpc_address)
    with pytest.raises(TypeError):
        thermograd.compare([1], [1], address=server.grpc_address)
    with pytest.raises(grpc.RpcError) as error:
        thermograd.compare(numpy.ones((5, 1)), numpy.ones((6, 1)), address=server.grpc_address)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as error:
        thermograd.compare(numpy.ones((5, 1)), numpy.ones((5, 1)), address="127.0.0.1:9")
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
