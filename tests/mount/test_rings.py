# SPDX-License-Identifier: MIT
"""Replies from other threads, on all rings at once (build-aux/libfuse-ring-lock.patch).

Without the correction of libfuse's ring locking, a reply from another thread is lost sooner or
later: its client hangs.  EBB_RING_SECONDS is how long this goes on (25).
"""

import json
import os
import struct
import subprocess
import sys
import time

import pytest

from pylib import proc, ringclient

SECONDS = float(os.environ.get("EBB_RING_SECONDS", "25"))
STALLED_S = 30          # without a step: it hangs
CLIENTS = 6             # on each core
CORES = sorted(os.sched_getaffinity(0))
PARKED = ("read", "rename", "chmod", "fsync")


class Clients:
    """Processes on all cores, and a watch over them."""

    def __init__(self, m):
        self.m, self.progress = m, os.path.join(m.dir, "progress")
        self.dirs = [m.full(f"d{cpu}-{n}") for cpu in CORES for n in range(CLIENTS)]
        with open(self.progress, "wb") as file:
            file.truncate(8 * len(self.dirs))
        self.running, self.began = [], None

    def start(self):
        self.began = time.monotonic()
        for slot, path in enumerate(self.dirs):
            argv = [sys.executable, ringclient.__file__, path, str(self.cpu(slot)), str(SECONDS),
                    self.progress, str(slot)]
            self.running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True,
                                                 stderr=subprocess.PIPE, cwd="/"))
            proc.base().tell(f"+{self.running[-1].pid}")

    @staticmethod
    def cpu(slot):
        return CORES[slot // CLIENTS]

    def steps(self):
        with open(self.progress, "rb") as file:
            return struct.unpack(f"{len(self.dirs)}q", file.read())

    def watch(self):
        """Returns when all have ended; fails when one has made no step for a while."""
        last = {}

        def over():
            now, steps = time.monotonic(), self.steps()
            for slot, client in enumerate(self.running):
                if client.poll() is not None:
                    continue
                if last.get(slot, (None, 0))[0] != steps[slot]:
                    last[slot] = steps[slot], now
                elif now - last[slot][1] > proc.scaled(STALLED_S):
                    raise AssertionError(self.hang(slot, steps))
            return all(client.poll() is not None for client in self.running)
        proc.wait_until(over, SECONDS + 200, "the clients' end", every=0.2)

    def hang(self, slot, steps):
        client = self.running[slot]
        after = time.monotonic() - self.began - proc.scaled(STALLED_S)
        lines = [f"client {slot} on core {self.cpu(slot)} has hung since {after:.0f} s after the "
                 f"start, at step {steps[slot]} ({sum(steps)} of all):"]
        for what in ("wchan", "syscall", "stack"):
            try:
                with open(f"/proc/{client.pid}/{what}", encoding="ascii") as file:
                    lines.append(f"{what}: {file.read()}")
            except OSError as err:
                lines.append(f"{what}: {err}")
        return "\n".join([*lines, self.m.stacks()])

    def results(self):
        """[what each client did]; fails with what one said that did not end well."""
        done = []
        for client in self.running:
            out, err = client.communicate(timeout=60)
            assert client.returncode == 0, err
            done.append(json.loads(out))
        return done

    def end(self):
        for client in self.running:
            client.kill()
        if any(client.poll() is None for client in self.running):
            self.m.kill()       # whoever waits in the mount gets an error
        for client in self.running:
            client.communicate()
            proc.base().tell(f"-{client.pid}")


def released(m, dirs):
    for path in dirs:
        os.mkdir(path)
        for n in range(ringclient.KEEP):
            with open(f"{path}/keep-{n}", "wb") as file:
                file.write(ringclient.content(path, n))
        for n in range(ringclient.GONE):
            with open(f"{path}/gone-{n}", "wb") as file:
                file.write(b"gone")
    proc.wait_until(lambda: m.ctl("archive", "--all").returncode == 0, 60, "all archived")
    m.release()
    assert m.status()["released"]["files"] == len(dirs) * (ringclient.KEEP + ringclient.GONE)


@pytest.mark.deadline(300 + SECONDS)
def test_replies_from_other_threads(mount):
    """Over /dev/fuse, where the kernel offers no rings."""
    m = mount(start=False, options={"archive_after": "1h", "trash_grace": "0s", "read_cache": "0"})
    m.store_url = f"fault:{m.dir}/rules:mem:"
    with open(f"{m.dir}/rules", "w", encoding="ascii") as file:
        file.write("get delay 1ms p 40\nget delay 2ms p 20\nget delay 7ms p 5\n")
    m.start()
    clients = Clients(m)
    released(m, clients.dirs)
    before = m.status()["fuse"]
    try:
        clients.start()
        clients.watch()
        done = clients.results()
    finally:
        clients.end()
    after = m.status()["fuse"]
    # A client does not leave its core, and a core's requests are its own ring's.
    for cpu in CORES:
        mine = [d for slot, d in enumerate(done) if clients.cpu(slot) == cpu]
        for what in PARKED:
            assert sum(d[what] for d in mine) > 0, (cpu, what)
        assert sum(d["unlink"] for d in mine) > 0 and sum(d["missing"] for d in mine) > 0
    parked = sum(d[what] for d in done for what in PARKED)
    assert after["parked"]["total"] - before["parked"]["total"] >= parked
    assert after["parked"]["refused"] == before["parked"]["refused"] == 0
    assert after["requests"]["read"] - before["requests"]["read"] >= sum(d["read"] for d in done)
    proc.wait_until(lambda: m.status()["fuse"]["parked"]["now"] == 0, 30, "nothing is parked")
    print(f"{sum(sum(d.values()) for d in done)} steps in {SECONDS:g} s, "
          f"{after['parked']['total'] - before['parked']['total']} requests parked")
