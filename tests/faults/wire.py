"""Two network namespaces and the wire between them, which delays, reorders, loses and throttles.

The kernel's netem does this too, but not every kernel has it. Packets go from a TUN device at one
end to one at the other, through a thread that decides what becomes of each.
"""

import concurrent.futures
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
# What a router would hold before it drops.
QUEUE_BYTES = 1 << 15
PACKET_BYTES = 1 << 16


class End:
    """A namespace: what `call` runs, and every process that it starts, sees its network only."""

    def __init__(self, address):
        self.address = address
        self.device = None
        # Namespaces belong to threads, and to what they fork.
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self.call(self._enter)

    def call(self, function, *arguments, **options):
        """The result of a function, called inside."""
        return self._thread.submit(function, *arguments, **options).result()

    def close(self):
        """Ends the thread; the namespace goes with the last process inside."""
        os.close(self.device)
        self._thread.shutdown()

    def _enter(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise PermissionError(error, f"a network namespace: {os.strerror(error)}")
        self.device = os.open("/dev/net/tun", os.O_RDWR)
        request = struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(self.device, TUNSETIFF, request)
        for command in (
            "ip link set lo up",
            f"ip address add {self.address}/24 dev wire",
            "ip link set wire mtu 1500 up",
        ):
            subprocess.run(command.split(), check=True)


class Wire:
    """Carries packets between `trainer` and `server` as its attributes say at the time."""

    def __init__(self, seed=0):
        #: Seconds that each packet takes; between them uniformly, so that packets overtake others.
        self.delay_seconds = (0.0, 0.0)
        #: Shares of packets that are lost, and that arrive twice.
        self.lost = 0.0
        self.doubled = 0.0
        #: Bytes a second in each direction; None: any.
        self.bytes_per_second = None
        #: True: nothing passes.
        self.is_cut = False
        #: Packets that arrived, and that arrived before an earlier one.
        self.arrived = 0
        self.overtaking = 0

        self._random = random.Random(seed)
        self.trainer, self.server = End("10.99.0.1"), End("10.99.0.2")
        self._is_over = False
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over = True
        self._thread.join()
        self.trainer.close()
        self.server.close()

    def _carry(self):
        other = {
            self.trainer.device: self.server.device,
            self.server.device: self.trainer.device,
        }
        # (due, number, device, packet)
        flying = []
        # When the line of each direction is free again.
        free = dict.fromkeys(other, 0.0)
        number = 0
        latest = dict.fromkeys(other, 0)
        while not self._is_over:
            now = time.monotonic()
            while flying and flying[0][0] <= now:
                _, sent, device, packet = heapq.heappop(flying)
                self.arrived += 1
                self.overtaking += sent < latest[device]
                latest[device] = max(latest[device], sent)
                os.write(device, packet)
            wait = min(0.05, flying[0][0] - now) if flying else 0.05
            for device in select.select(list(other), [], [], max(wait, 0))[0]:
                packet = os.read(device, PACKET_BYTES)
                for due in self._arrivals(device, len(packet), free):
                    number += 1
                    heapq.heappush(flying, (due, number, other[device], packet))

    def _arrivals(self, device, size, free):
        """When a packet arrives: never, once, or twice."""
        now = time.monotonic()
        if self.is_cut or self._random.random() < self.lost:
            return []
        begin = now
        if self.bytes_per_second is not None:
            begin = max(now, free[device])
            if (begin - now) * self.bytes_per_second > QUEUE_BYTES:
                return []
            free[device] = begin + size / self.bytes_per_second
            begin = free[device]
        times = 2 if self._random.random() < self.doubled else 1
        return [begin + self._random.uniform(*self.delay_seconds) for _ in range(times)]
