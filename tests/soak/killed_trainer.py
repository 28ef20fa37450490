"""A trainer that is killed: streams its stdin to the server at ADDRESS, and answers to its stdout.

usage: killed_trainer.py ADDRESS

Both are messages, each behind its length in four bytes.
"""

import struct
import sys

import grpc

LENGTH = struct.Struct("<I")


def write(pipe, message):
    """Writes one message."""
    pipe.write(LENGTH.pack(len(message)) + message)
    pipe.flush()


def read(pipe):
    """Yields messages until the other side ends."""
    while length := pipe.read(LENGTH.size):
        yield pipe.read(*LENGTH.unpack(length))


def main():
    """Entry point."""
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stream = channel.stream_stream("/thermograd.v1.TrainingAnalysisService/StreamRun")
        for answer in stream(read(sys.stdin.buffer)):
            write(sys.stdout.buffer, answer)


if __name__ == "__main__":
    main()
