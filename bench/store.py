# SPDX-License-Identifier: MIT
"""Files that go to the store and come back: archive, release, cold reading, restore.

Beside each round on RADOS, `rados bench` does as much with bare objects of the same sizes at the
same depth, on the same cluster (one node, tests/pylib/ceph.py).  Released files are read after a
fresh mount with the kernel's caches dropped: one at a time in scattered order (lone reads), and
all by tar.
"""

import os
import re
import time

from pylib import proc
from pylib.ceph import Ceph

from place import Load, timed
from plan import BIG, CAPTURE, SMALL

SIZES = {"small": SMALL, "big": BIG, "captures": CAPTURE}

def run(bench):
    plan = bench.plan
    if bench.kind("ebbfs") is None:
        return
    for name in plan.stores:
        with bench.guarded(f"store {name}", bench.media[0], None):
            if name == "rados":
                with Ceph() as ceph:
                    run_rounds(bench, name, ceph)
            else:
                run_rounds(bench, name, None)


def run_rounds(bench, name, ceph):
    for round_ in bench.rounds(name, f"store {name}"):
        pool = ceph.create_pool(pgs=32) if ceph else None
        if ceph:
            bare(bench, round_, ceph, pool)
        for medium in bench.media:
            if medium.name not in bench.plan.store_media:
                continue
            for what in SIZES:
                url = ceph.url(pool, f"{medium.name}-{what}") if ceph else "dir"
                run_one(bench, round_, medium, name, what, url)
        if ceph:
            ceph.delete_pool(pool)


class Steps:
    """Measures what the daemon does, as one sample after the other."""

    def __init__(self, bench, round_, medium, store, what, files, size):
        self.add = lambda step, **figures: bench.results.add(
            f"{step} {what}", medium.name, f"ebbfs, {store}", round_, **figures)
        self.files, self.bytes = files, size

    def __call__(self, system, step, action):
        cpu, began = system.cpu_s(), time.monotonic()
        action()
        seconds = time.monotonic() - began
        self.add(step, files=self.files, seconds=seconds, rate=self.files / seconds,
                 mb_s=self.bytes / seconds / 1e6,
                 daemon_us=(system.cpu_s() - cpu) / self.files * 1e6, **system.memory())


def run_one(bench, round_, medium, store, what, url):
    """One kind of files, there and back."""
    plan, sizes, work = bench.plan, SIZES[what], medium.fresh()
    files = plan.archive_files[what]
    total = files * sizes if isinstance(sizes, int) else files * sum(sizes) // len(sizes)
    source = os.path.join(work, "files")
    os.mkdir(source)
    step = Steps(bench, round_, medium, store, what, files, total)
    with bench.mounted(bench.kind("ebbfs"), source, work, store=url) as system:
        tree = os.path.join(system.path, "tree")
        mount = system.mount
        with Load(tree, 1, files, sizes, system) as load:
            load.phase("create")
            settled(mount, files)
            step(system, "archive", lambda: mount.ctl("archive", "--all", check=True,
                                                      deadline=600))
            step(system, "release", lambda: mount.ctl("release", "--all", check=True,
                                                      deadline=600))
            assert mount.status()["released"]["files"] == files
            cold(system, medium)
            lone_reads(step, load, plan)
            cold(system, medium)
            step(system, "tar", lambda: timed(f"tar cf - {tree} | cat >/dev/null", shell=True))
            step(system, "tar warm",
                 lambda: timed(f"tar cf - {tree} | cat >/dev/null", shell=True))
            step(system, "restore", lambda: mount.ctl("restore", "--all", check=True,
                                                      deadline=600))
            found = load.phase("read")
            assert found["files"] == files and not found["error"], found
    medium.done(work)


def lone_reads(step, load, plan):
    """One client, one file at a time: what a reader of single files waits for."""
    step.add("lone read", **load.phase("read", plan.lone_ms, "shuffle"))


def cold(system, medium):
    system.remount()
    medium.drop_caches()


def settled(mount, files):
    """Files that nobody has open, and that are a second old (timestamps are coarse)."""
    proc.wait_until(lambda: mount.status()["local"]["files"] >= files, 60, "files are counted")
    time.sleep(1.1)


# --- rados bench ------------------------------------------------------------------

def bare(bench, round_, ceph, pool):
    """What bare objects cost: written at depth 64, read at 16 and at 1."""
    seconds = str(bench.plan.rados_s)

    def run_bench(name, size, *args):
        done = ceph.rados(pool, "bench", seconds, *args, "--run-name", f"b{size}",
                          namespace="bench", deadline=300)
        bench.results.add(f"rados bench {name}", "ceph", "rados bench", round_,
                          **parsed(done.stdout, size))
    for size in (SMALL, BIG):
        run_bench(f"write {size} x64", size, "write", "-b", str(size), "-t", "64", "--no-cleanup")
        run_bench(f"rand {size} x16", size, "rand", "-t", "16")
        run_bench(f"rand {size} x1", size, "rand", "-t", "1")


def parsed(text, size):
    def value(name):
        return float(re.search(rf"^{name}:\s+([\d.]+)", text, re.M)[1])
    count, seconds = value(r"Total (?:writes|reads) made"), value("Total time run")
    return {"files": int(count), "seconds": seconds, "rate": count / seconds,
            "mb_s": count * size / seconds / 1e6,
            "mean_us": value(r"Average Latency\(s\)") * 1e6,
            "max_us": value(r"Max latency\(s\)") * 1e6}
