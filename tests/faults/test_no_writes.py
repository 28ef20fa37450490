"""The server writes nothing to any disk, so that no disk can be full for it."""

import re
import resource
import shlex

import numpy

import small_run
from bystander import Bystander
from system_support import SERVER, Server, Stream, eventually

# What opens, makes or changes a file, however it is called.
CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,truncate,ftruncate,unlink,unlinkat,memfd_create"
)
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|^\S+ (?!open)\w+\(")
HARMLESS = re.compile(r'"/dev/null"|ENOENT')


class TracedServer(Server):
    """A server all of whose calls that may write to a file are noted."""

    def __init__(self, folder, *flags):
        self.trace = folder / "trace"
        program = folder / "server"
        program.write_text(
            f"#!/bin/sh\nexec strace -D -f -o {shlex.quote(str(self.trace))} -e trace={CALLS} "
            f'{SERVER} "$@"\n'
        )
        program.chmod(0o755)
        super().__init__(*flags, program=program)


def use_everything(server):
    """A run with figures, a refused one, probes compared, pages read."""
    with Bystander(server) as bystander:
        eventually(lambda: bystander.steps > 10)
        with Stream(server) as refused:
            refused.send(b"\xff" * 16)
            assert refused.close() is not None
        with Stream(server) as probed:
            probed.open(small_run.declaration("probed"))
            features = numpy.eye(small_run.SAMPLES, small_run.WIDTH, dtype=numpy.float32)
            probed.step(
                small_run.begin(1), [*small_run.gradient(), *small_run.activations(features)]
            )
        server.scrape()
        server.get("/")


def test_no_file_is_opened_for_writing(tmp_path):
    server = TracedServer(tmp_path)
    use_everything(server)
    server.close()
    lines = server.trace.read_text().splitlines()
    assert any("/proc/self/statm" in line for line in lines)
    written = [line for line in lines if WRITES.search(line) and not HARMLESS.search(line)]
    assert not written


def test_a_server_that_may_write_no_byte_works():
    """As on a full disk: to files of any kind the system admits nothing."""
    with Server() as server:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, 0))
        use_everything(server)
