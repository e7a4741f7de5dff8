# SPDX-License-Identifier: MIT
"""Where runs take place: two media, fresh directories, caches dropped, and the load's clients.

Directories on the disk are removed at the end only: ext4 avoids inodes that were freed a moment
ago, and creates files ten times slower meanwhile.  Their files are emptied at once: all of a run
together would be a hundred gigabytes.
"""

import json
import os
import shutil
import subprocess
import time

from pylib import proc

LOAD = os.path.join(proc.BUILD, "bench", "load")
MEDIA = {"tmpfs": "/dev/shm", "disk": os.environ.get("EBB_TMP", "/var/tmp")}
# Names and attributes; on the disk the pages of files as well.
DROP = {"tmpfs": "2", "disk": "3"}


class Medium:
    """Fresh directories on one file system; a guard removes them whatever happens (proc.Base)."""

    def __init__(self, name, drops=True):
        self.name, self.drops = name, drops
        self.base, self.number, self.late = None, 0, []

    def fresh(self):
        if self.base is None:
            before = os.environ.get("EBB_TMP")
            os.environ["EBB_TMP"] = MEDIA[self.name]
            try:
                self.base = proc.Base()
            finally:
                os.environ.pop("EBB_TMP")
                if before is not None:
                    os.environ["EBB_TMP"] = before
        self.number += 1
        path = os.path.join(self.base.path, str(self.number))
        os.makedirs(path)
        return path

    def done(self, path):
        if self.name == "disk":
            empty(path)
            self.late.append(path)
        else:
            remove(path)

    def drop_caches(self):
        if not self.drops:
            return
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write(DROP[self.name])

    def close(self):
        for path in self.late:
            remove(path)
        if self.base:
            self.base.close()


def must_be_unmounted(path):
    inside = proc.mounts_below(path)
    assert not inside, f"still mounted: {inside}"


def remove(path):
    must_be_unmounted(path)
    shutil.rmtree(path, ignore_errors=True)


def empty(path):
    """Frees the bytes of the files below, and no inode."""
    must_be_unmounted(path)
    for parent, _, names in os.walk(path):
        for name in names:
            file = os.path.join(parent, name)
            if not os.path.islink(file) and os.path.isfile(file):
                os.truncate(file, 0)


class Load:
    """Clients in a directory (load.c); phase("create", 400) is its answer.

    With a system, figures of its daemon are added: cpu_us (client and daemon, a file), and
    peak_bytes of memory.
    """

    def __init__(self, directory, clients, files, sizes, system=None):
        os.makedirs(directory, exist_ok=True)
        sizes = sizes if isinstance(sizes, (tuple, list)) else [sizes]
        self.system = system
        self.popen = subprocess.Popen(
            [LOAD, directory, str(clients), str(files), ",".join(map(str, sizes))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def phase(self, op, limit_ms=0, *words):
        before = self.system.cpu_s() if self.system else 0
        self.popen.stdin.write(" ".join([op, str(limit_ms), *words]) + "\n")
        self.popen.stdin.flush()
        line = self.popen.stdout.readline()
        if not line:
            raise AssertionError(f"load ended: {proc.status_text(self.popen.wait())}")
        found = json.loads(line)
        count, seconds = found["files"], found["seconds"]
        found["rate"] = count / seconds if seconds else 0
        found["mb_s"] = found["bytes"] / seconds / 1e6 if seconds else 0
        if self.system and count:
            daemon = self.settled_cpu() - before
            found["client_us"] = found["cpu_s"] / count * 1e6
            found["daemon_us"] = daemon / count * 1e6
            found["cpu_us"] = found["client_us"] + found["daemon_us"]
            found.update(self.system.memory())
        return found

    def settled_cpu(self):
        """The daemon's CPU once it has answered what needs no waiting for (last closes)."""
        last, end = self.system.cpu_s(), time.monotonic() + 0.3
        while self.system.pid() and time.monotonic() < end:
            time.sleep(0.005)
            now = self.system.cpu_s()
            if now - last < 20e-6:
                return now
            last = now
        return last

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.stdin.close()
        if self.popen.wait():
            raise AssertionError(f"load: {proc.status_text(self.popen.returncode)}")


def timed(*argv, shell=False):
    """Runs a command; (seconds, its CPU seconds)."""
    began = time.monotonic()
    if shell:
        argv = ("bash", "-c", "set -o pipefail; " + argv[0])
    popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
    said = popen.stderr.read()
    _, status, usage = os.wait4(popen.pid, 0)
    popen.returncode = os.waitstatus_to_exitcode(status)
    popen.stderr.close()
    if popen.returncode:
        raise AssertionError(f"{argv[-1][:60]}...: {proc.status_text(popen.returncode)}: "
                             f"{said[-1000:].decode(errors='replace')}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime
