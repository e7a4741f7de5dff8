# SPDX-License-Identifier: MIT
"""On what was measured: the machine, versions, and how much of it others used meanwhile."""

import os
import platform
import re
import resource
import shutil
import subprocess
import time

from pylib import proc


def first_line(*argv):
    if not shutil.which(argv[0]) and not os.access(argv[0], os.X_OK):
        return None
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else None


def field(path, pattern):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = re.search(pattern, file.read(), re.M)
    except OSError:
        return None
    return found[1].strip() if found else None


class Busy:
    """How much CPU time the machine gave to others than this run."""

    def __init__(self):
        self.began, self.machine, self.ours = time.monotonic(), self.machine_s(), self.ours_s()

    @staticmethod
    def machine_s():
        with open("/proc/stat", encoding="ascii") as file:
            numbers = [int(n) for n in file.readline().split()[1:9]]
        user, nice, system, _, _, irq, softirq, steal = numbers
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def ours_s():
        both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in both)

    def others_pct(self):
        """Per cent of all CPU time since the beginning; asked when all our processes have ended."""
        others = (self.machine_s() - self.machine) - (self.ours_s() - self.ours)
        return max(0, others) / (time.monotonic() - self.began) / os.cpu_count() * 100


def filesystem(path):
    """What a path lies on."""
    done = subprocess.run(["findmnt", "-nro", "FSTYPE,SOURCE", "-T", path], capture_output=True,
                          text=True, check=False)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else None


def facts(bench, busy):
    return about(busy, [m.name for m in bench.media])


def about(busy, media):
    from place import MEDIA     # pylint: disable=import-outside-toplevel
    libfuse = field(os.path.join(proc.DEPS, "lib", "pkgconfig", "fuse3.pc"), r"^Version: (.*)") \
        or first_line("pkg-config", "--modversion", "fuse3")
    memory = field("/proc/meminfo", r"^MemTotal:\s+(\d+)")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "seconds": round(time.monotonic() - busy.began),
        "cpu": field("/proc/cpuinfo", r"^model name\s*:(.*)"),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / (1 << 20), 1) if memory else None,
        "used_by_others_pct": round(busy.others_pct(), 1),
        "open_files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "kernel": platform.release(),
        "distribution": field("/etc/os-release", r'^PRETTY_NAME="(.*)"'),
        "fuse_over_io_uring": field("/sys/module/fuse/parameters/enable_uring", r"^(.*)"),
        "media": {name: filesystem(MEDIA[name]) for name in media},
        "versions": {name: text for name, text in {
            "ebbfs": first_line(os.path.join(proc.BUILD, "ebbfs"), "--version"),
            "libfuse": libfuse,
            "mergerfs": first_line("mergerfs", "--version"),
            "rclone": first_line("rclone", "version"),
            "ceph": first_line("ceph", "--version"),
        }.items() if text},
    }
