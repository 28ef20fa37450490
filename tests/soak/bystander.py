"""A run that goes on through the whole soak, and whose figures must not change by a bit."""

import threading

from system_support import Server, Stream, bits, run
from test_identical_bits import DATA, begin, declaration, plain

# By then what looks back to earlier steps sees equal ones.
SETTLED_AFTER = 4
BODY = plain(DATA[0])


def _spec():
    # Longer windows would add up more and more of the same.
    return declaration(
        "bystander", reporting=run.Reporting(window_steps=1, spectrum_every_steps=1)
    )


def _figures_alone():
    """What each of the first steps gives on a server that serves nobody else."""
    with Server() as server, Stream(server) as stream:
        stream.open(_spec())
        found = [bits(stream.step(begin(step), BODY)) for step in range(SETTLED_AFTER + 1)]
    assert found[-1] == found[-2], "equal steps should settle to equal figures"
    return found[:-1]


class Bystander(threading.Thread):
    """Sends the same step again and again until it is stopped."""

    def __init__(self, server, pause_seconds=0.1):
        super().__init__()
        self._expected = _figures_alone()
        self._server = server
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self.steps = 0
        self.errors = []

    def stop(self):
        """Ends the run in order."""
        self._stopping.set()
        self.join()

    def run(self):
        try:
            with Stream(self._server, timeout=None) as stream:
                stream.open(_spec())
                while not self._stopping.wait(self._pause_seconds):
                    self._take_step(stream)
                if (error := stream.close()) is not None:
                    self.errors.append(f"the bystander's stream ended with {error}")
        except Exception as error:  # what a thread raises would be lost
            self.errors.append(f"bystander: {error!r}")

    def _take_step(self, stream):
        found = bits(stream.step(begin(self.steps), BODY))
        expected = self._expected[min(self.steps, SETTLED_AFTER - 1)]
        if found != expected:
            differing = [key for key in expected if found.get(key) != expected[key]]
            self.errors.append(f"step {self.steps} of the bystander differs in {differing[:5]}")
        self.steps += 1
