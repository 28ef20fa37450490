"""Prometheus that never comes, that always comes, and that does not go."""

import contextlib
import socket
import threading
import time

import numpy

import small_run
from bystander import Bystander
from system_support import Server, Stream, chunks, eventually, run, tensor

READERS = 4
INTERVAL_SECONDS = 0.1
SECONDS = 5
# Five series a parameter.
RUNS, PARAMETERS = 10, 500


def test_nobody_reads_the_metrics():
    with Server() as server, Bystander(server) as bystander:
        eventually(lambda: bystander.steps > 100)


def open_large_run(stack, server, number):
    """A run of many parameters, with a step's figures of each."""
    parameters = [run.Parameter(id=i, name=f"p{i}", shape=[1]) for i in range(1, PARAMETERS + 1)]
    stream = stack.enter_context(Stream(server))
    stream.open(run.RunSpec(run=f"large-{number}", parameters=parameters))
    begin = small_run.begin(1)
    begin.microbatches = 2
    one = numpy.ones(1, numpy.float32)
    gradients = [
        chunk
        for parameter in parameters
        for microbatch in range(2)
        for chunk in chunks(
            parameter.id, tensor.TENSOR_KIND_GRADIENT, one * (microbatch + 1), microbatch
        )
    ]
    stream.step(begin, gradients)


def test_everybody_reads_the_metrics_every_100_ms():
    """Each scrape is whole: who waits for a figure finds it in every one."""
    with Server("--max_series=100000") as server, contextlib.ExitStack() as stack:
        for number in range(RUNS):
            open_large_run(stack, server, number)
        failures, scrapes = [], []
        is_over = threading.Event()

        def read():
            while not is_over.wait(INTERVAL_SECONDS):
                try:
                    text = server.get("/metrics")
                    scrapes.append(text.count("\n"))
                    for name in ("thermograd_last_step", "thermograd_entropic_loss"):
                        assert f'\n{name}{{run="bystander"}}' in text, name
                except Exception as error:  # what a thread raises would be lost
                    failures.append(error)

        with Bystander(server) as bystander:
            readers = [threading.Thread(target=read) for _ in range(READERS)]
            for reader in readers:
                reader.start()
            begun = bystander.steps
            time.sleep(SECONDS)
            is_over.set()
            for reader in readers:
                reader.join()
            assert bystander.steps > begun + 20
        assert not failures
        assert len(scrapes) > READERS * 3 and min(scrapes) > 5 * RUNS * PARAMETERS


def test_readers_that_never_finish():
    """Half a request, a byte at a time, or an answer that nobody takes: others are answered."""
    with Server() as server, Bystander(server), contextlib.ExitStack() as stack:
        host, port = server.http_address.rsplit(":", 1)
        for _ in range(3 * READERS):
            slow = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: loc")
            deaf = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        begun = time.monotonic()
        assert server.scrape()
        # They have had their time, and are gone.
        assert time.monotonic() - begun < 40
        begun = time.monotonic()
        assert server.scrape()
        assert time.monotonic() - begun < 10
