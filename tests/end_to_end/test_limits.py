"""What goes beyond a limit is refused by its name and counted, and harms no other stream."""

import re
import subprocess
import threading

import grpc
import numpy
import pytest

import small_run
from system_support import (
    SERVER,
    Server,
    Stream,
    assert_beyond,
    chunks,
    end_step,
    eventually,
    report,
    run,
    service,
    service_grpc,
    tensor,
    undefined_reason,
    value,
)
from thermograd.v1 import representation_pb2 as representation

LIVE = "thermograd_run_live"


def large(name, elements=1 << 20):
    spec = small_run.declaration(name)
    spec.parameters.append(run.Parameter(id=9, name="large", shape=[elements]))
    # Updates are kept until the step ends.
    spec.parameter_kinds.append(tensor.TENSOR_KIND_UPDATE)
    return spec


def update():
    chunk = tensor.TensorChunk(
        tensor_id=9,
        kind=tensor.TENSOR_KIND_UPDATE,
        data_type=tensor.DATA_TYPE_FP32,
        data=bytes(16),
    )
    return service.StreamRunRequest(chunk=chunk)


def test_every_limit_is_a_flag_and_a_metric():
    text = subprocess.run([SERVER, "--help"], stdout=subprocess.PIPE, text=True, check=False).stdout
    defaults = dict(re.findall(r"--(\w+) \(.*?\); default: (.*?);", " ".join(text.split())))
    assert {"max_streams", "idle_seconds", "listen_address"} <= set(defaults)
    with Server("--max_layers=7") as server:
        limits = server.by_limit("thermograd_limit")
        assert {name for name in defaults if name.startswith("max_")} <= set(limits)
        for limit, limit_value in limits.items():
            # What its default stands for depends on the machine.
            if limit != "max_resident_bytes":
                assert limit_value == (7 if limit == "max_layers" else float(defaults[limit]))
        refusals = server.by_limit("thermograd_limit_refusals_total")
        assert refusals == dict.fromkeys(limits, 0)
        with Stream(server) as stream:
            stream.open(small_run.declaration("small"))
            used = server.by_limit("thermograd_limit_used")
        assert set(used) <= set(limits)
        assert (used["max_streams"], used["max_runs"], used["max_layers"]) == (1, 1, 1)
        assert used["max_samples"] == small_run.SAMPLES
        assert 0 < used["max_memory_bytes"] < limits["max_memory_bytes"]
        assert used["max_resident_bytes"] > 1 << 20


@pytest.mark.parametrize("limit", ["max_stream_bytes", "max_memory_bytes"])
def test_memory(limit):
    with Server(f"--{limit}={2 << 20}") as server, Stream(server) as bystander:
        bystander.open(small_run.declaration("bystander"))
        with Stream(server) as stream:
            stream.open(large("greedy"))
            stream.send(service.StreamRunRequest(step_begin=small_run.begin(1)), update())
            error = stream.error()
            assert_beyond(error, limit, 2 << 20)
            is_shared = limit != "max_stream_bytes"
            assert ("grpc-retry-pushback-ms" in dict(error.trailing_metadata())) == is_shared
        figures = bystander.step(small_run.begin(1), small_run.gradient())
        assert value(figures, "thermograd_gradient_second_moment") == 6
        assert server.rejected("resource_exhausted") == 1
        assert server.refusals() == {limit: 1}


def test_streams():
    with Server("--max_streams=1") as server, Stream(server) as first:
        first.open(small_run.declaration("first"))
        with Stream(server) as second:
            second.send(service.StreamRunRequest(run_spec=small_run.declaration("second")))
            error = second.error()
            assert_beyond(error, "max_streams", 1)
            # There may be room later.
            assert ("grpc-retry-pushback-ms", "5000") in error.trailing_metadata()
        first.step(small_run.begin(1), small_run.gradient())
        assert server.rejected("resource_exhausted") == 1
        assert server.refusals() == {"max_streams": 1}


def test_runs():
    def has_ended(name):
        return server.scrape().get((LIVE, frozenset({("run", name)}))) == 0

    with Server("--max_runs=2") as server:
        for name in ("first", "second", "third"):
            with Stream(server) as stream:
                stream.open(small_run.declaration(name))
                stream.step(small_run.begin(1), small_run.gradient())
            eventually(lambda name=name: has_ended(name))
        samples = server.scrape()
        shown = {dict(labels)["run"] for metric, labels in samples if metric == LIVE}
        assert shown == {"second", "third"}
        assert samples["thermograd_runs_dropped_total", frozenset()] == 1
        with Stream(server) as fourth, Stream(server) as fifth, Stream(server) as sixth:
            fourth.open(small_run.declaration("fourth"))
            fifth.open(small_run.declaration("fifth"))
            sixth.send(service.StreamRunRequest(run_spec=small_run.declaration("sixth")))
            assert_beyond(sixth.error(), "max_runs", 2)
            fourth.step(small_run.begin(1), small_run.gradient())
        assert server.refusals() == {"max_runs": 1}


def test_samples():
    with Server("--max_samples=32") as server, Stream(server) as stream:
        spec = small_run.declaration("wide")
        spec.layers.append(run.Layer(id=5, name="batch", width=1))
        stream.open(spec)
        stream.send(service.StreamRunRequest(step_begin=small_run.begin(1)))
        array = numpy.zeros((33, 1), numpy.float32)
        stream.send(*chunks(5, tensor.TENSOR_KIND_ACTIVATION, array))
        assert_beyond(stream.error(), "max_samples", 32)


def too_many_parameters(spec):
    spec.parameters.add(id=9, name="another", shape=[1])


def too_many_layers(spec):
    spec.layers.add(id=9, name="another", width=1)


def too_long_a_name(spec):
    spec.parameters[0].name = "n" * 17


def too_many_elements(spec):
    spec.parameters[0].shape[:] = [2, 4]


def too_many_ranks(spec):
    spec.world_size = 3


def too_long_a_window(spec):
    spec.reporting.window_steps = 65


def too_many_permutations(spec):
    spec.reporting.similarity.permutations = 20


DECLARATIONS = {
    "max_parameters": (1, too_many_parameters),
    "max_layers": (1, too_many_layers),
    "max_label_bytes": (16, too_long_a_name),
    "max_elements": (7, too_many_elements),
    "max_ranks": (2, too_many_ranks),
    "max_window_steps": (64, too_long_a_window),
    "max_permutations": (19, too_many_permutations),
}


def test_declarations():
    flags = [f"--{limit}={limit_value}" for limit, (limit_value, _) in DECLARATIONS.items()]
    with Server(*flags) as server:
        for limit, (limit_value, spoil) in DECLARATIONS.items():
            with Stream(server) as stream:
                stream.open(small_run.declaration("within"))
            with Stream(server) as stream:
                spec = small_run.declaration("beyond")
                spoil(spec)
                stream.send(service.StreamRunRequest(run_spec=spec))
                assert_beyond(stream.error(), limit, limit_value)
        assert server.refusals() == dict.fromkeys(DECLARATIONS, 1)


def comparison_error(server, samples, features, *similarities):
    """The error of a comparison of which only the headers are sent; None while it waits."""
    done = threading.Event()

    def requests():
        yield service.CompareRepresentationsRequest(
            options=representation.SimilarityOptions(similarities=similarities)
        )
        for side in (service.COMPARISON_SIDE_X, service.COMPARISON_SIDE_Y):
            header = service.ComparisonHeader(
                side=side, samples=samples, features=features, data_type=tensor.DATA_TYPE_FP32
            )
            yield service.CompareRepresentationsRequest(header=header)
        done.wait()

    with server.channel() as channel:
        stub = service_grpc.TrainingAnalysisServiceStub(channel)
        call = stub.CompareRepresentations.future(requests(), timeout=60)
        try:
            return call.exception(timeout=2)
        except grpc.FutureTimeoutError:
            return None
        finally:
            done.set()
            call.cancel()


def test_comparisons():
    with Server("--max_comparisons=1") as server:
        waiting = threading.Thread(target=comparison_error, args=(server, 4, 4))
        waiting.start()
        eventually(lambda: server.by_limit("thermograd_limit_used")["max_comparisons"] == 1)
        assert_beyond(comparison_error(server, 4, 4), "max_comparisons", 1)
        waiting.join()
        assert server.refusals() == {"max_comparisons": 1}


def test_a_comparison_that_is_given_up_is_not_refused():
    def open_comparisons():
        return server.by_limit("thermograd_limit_used")["max_comparisons"]

    with Server() as server:
        waiting = threading.Thread(target=comparison_error, args=(server, 4, 4))
        waiting.start()
        eventually(lambda: open_comparisons() == 1)
        waiting.join()
        eventually(lambda: open_comparisons() == 0)
        assert server.rejected("invalid_argument") == 0


def test_cpu_time():
    cca = representation.SIMILARITY_CCA
    spec = run.RunSpec(
        run="thorough",
        layers=[run.Layer(id=i + 1, name=f"h{i}", width=256) for i in range(20)],
        reporting=run.Reporting(
            similarity=representation.SimilarityOptions(similarities=[cca])
        ),
    )
    values = numpy.random.default_rng(0).standard_normal((256, 256)).astype("<f4")
    with Server("--max_request_cpu_seconds=1") as server:
        assert_beyond(comparison_error(server, 2048, 2048, cca), "max_request_cpu_seconds", 1)
        assert comparison_error(server, 256, 256, cca) is None
        with Stream(server) as stream, Stream(server) as bystander:
            stream.open(spec)
            bystander.open(small_run.declaration("bystander"))
            for step, layers in ((1, 2), (2, len(spec.layers))):
                stream.send(service.StreamRunRequest(step_begin=small_run.begin(step)))
                for layer in spec.layers[:layers]:
                    stream.send(*chunks(layer.id, tensor.TENSOR_KIND_ACTIVATION, values))
                stream.send(end_step(step))
                if step == 1:
                    stream.receive("step_report")
            assert_beyond(stream.error(), "max_request_cpu_seconds", 1)
            bystander.step(small_run.begin(1), small_run.gradient())
        assert server.refusals() == {"max_request_cpu_seconds": 2}


def test_series():
    with Server("--max_series=5") as server, Stream(server) as stream:
        stream.open(small_run.declaration("talkative"))
        spoiled = numpy.full((2, 3), numpy.nan, numpy.float32)
        figures = stream.step(small_run.begin(1), small_run.gradient(spoiled))
        figures = stream.step(small_run.begin(2), small_run.gradient())
        samples = server.scrape()
        of_run = [name for name, labels in samples if ("run", "talkative") in labels]
        assert len(of_run) == 5 and LIVE in of_run
        assert samples["thermograd_series", frozenset()] == 5
        # Liveness, memory, latest step and its time, steps, non-finite elements of two classes.
        beyond = len(figures.metrics) + 7 - 5
        assert samples["thermograd_series_refused", frozenset()] == beyond
        assert server.refusals() == {"max_series": 2 * beyond}


def test_ranks_of_a_run_must_meet_on_one_server():
    with Server("--rank_seconds=1") as first, Server("--rank_seconds=1") as second:
        for rank, server in enumerate((first, second)):
            with Stream(server) as stream:
                stream.open(small_run.declaration("apart", rank=rank, world_size=2))
                figures = stream.step(small_run.begin(1), small_run.gradient())
            reason = undefined_reason(
                figures, "thermograd_parameter_gradient_second_moment", parameter="weight"
            )
            assert reason == report.UNDEFINED_REASON_INCOMPLETE_SHARDS
            samples = server.scrape()
            assert samples["thermograd_incomplete_rank_steps_total", frozenset()] == 1
            reasons = frozenset({("reason", "incomplete_shards")})
            assert samples["thermograd_undefined_total", reasons] > 0
