# SPDX-License-Identifier: MIT
"""The figures that ebbfs is to reach, each a ratio within one run (or a bound), and the verdicts.

What counts is the median over the rounds of the ratio within a round.  Beside it stands the ratio
of the best rounds of both, and for what clients wait for, that of the median latencies: where the
three differ much, the machine was busy with something else, and the verdict is worth little.
"""

from local import cell_name
from plan import BIG, SMALL

EBB = "ebbfs"
HP = "passthrough_hp, io_uring"
RADOS = "ebbfs, rados"
MIB = 1 << 20
CROWD = 1000        # clients


class Figure:
    """A figure and its limit: at least, or at most (`most`).

    one and other are (workload, medium, system, figure), `got` their ratio; without other, got is
    a function of the results.
    """

    def __init__(self, what, limit, one=None, other=None, got=None, unit="x", most=False,
                 note=None):
        self.what, self.limit, self.unit, self.most, self.note = what, limit, unit, most, note
        self.one, self.other, self.got = one, other, got

    def value(self, results):
        return results.ratio(self.one, self.other) if self.one else self.got(results)

    def by_latency(self, results):
        """Of two that are compared by their rate, the same by what one operation takes."""
        if not self.one or self.one[3] != "rate":
            return None
        a, b = (which[:3] + ("p50_us",) for which in (self.other, self.one))
        return results.ratio(a, b)

    def judge(self, results):
        got = self.value(results)
        if got is None:
            verdict = "not measured"
        else:
            verdict = "reached" if (got <= self.limit if self.most else got >= self.limit) \
                else "missed"
        sign = "at most " if self.most else "at least "
        return {"what": self.what, "wanted": f"{sign}{self.limit:g} {self.unit}", "got": got,
                "best": results.best_ratio(self.one, self.other, self.most) if self.one else None,
                "latency": self.by_latency(results),
                "shown": "-" if got is None else f"{got:.3g} {self.unit}", "verdict": verdict,
                "note": self.note}


def against(workload, other, medium, figure="rate"):
    """ebbfs and another system in the same workload."""
    return {"one": (workload, medium, EBB, figure), "other": (workload, medium, other, figure)}


def bare(workload, figure, other, other_figure, medium):
    """ebbfs on RADOS and `rados bench`."""
    return {"one": (workload, medium, RADOS, figure),
            "other": (f"rados bench {other}", "ceph", "rados bench", other_figure)}


def local_figures(medium):
    for size, label, hp in ((SMALL, "1.5 KB", 1.4), (BIG, "200 KB", 1.5)):
        workload = cell_name("create", size, 2)
        for other, limit in ((HP, hp), ("mergerfs", 2.5), ("rclone", 10)):
            yield Figure(f"create {label} files, 2 clients, beside {other} ({medium})", limit,
                         **against(workload, other, medium))
    for size, label, limit in ((SMALL, "1.5 KB", 1.5), (BIG, "200 KB", 1.2)):
        yield Figure(f"read {label} files warm, 2 clients, beside {HP} ({medium})", limit,
                     **against(cell_name("read", size, 2), HP, medium))
    yield Figure(f"warm stat, 2 clients, beside native ({medium})", 0.8,
                 **against(cell_name("stat", SMALL, 2), "native", medium))
    yield Figure(f"CPU of client and daemon a created 1.5 KB file, beside {HP} ({medium})", 0.75,
                 **against(cell_name("create", SMALL, 2), HP, medium, "cpu_us"), most=True)


def walk_figures(medium):
    for command in ("ls -lR", "find -newer", "find -type f"):
        yield Figure(f"{command}, cold, beside {HP} ({medium})", 4,
                     **against(f"{command} cold", HP, medium))


def store_figures(medium):
    yield Figure(f"archive 1.5 KB files, beside the object rate at depth 64 ({medium})", 10,
                 **bare("archive small", "rate", f"write {SMALL} x64", "rate", medium))
    yield Figure(f"archive 200 KB files, beside the MB/s at depth 64 ({medium})", 0.9,
                 **bare("archive big", "mb_s", f"write {BIG} x64", "mb_s", medium))
    yield Figure(f"latency of one released 200 KB file, beside a rados read ({medium})", 1.3,
                 **bare("lone read big", "mean_us", f"rand {BIG} x1", "mean_us", medium),
                 most=True)
    yield Figure(f"tar c of released captures, beside the MB/s of rand at 16 ({medium})", 0.8,
                 **bare("tar captures", "mb_s", f"rand {BIG} x16", "mb_s", medium))
    yield Figure(f"CPU of the daemon for archive + release of a small file ({medium})", 100,
                 got=lambda results: archive_release_us(results, medium), unit="us", most=True)


def archive_release_us(results, medium):
    both = [results.median(f"{step} small", medium, RADOS, "daemon_us")
            for step in ("archive", "release")]
    return None if None in both else sum(both)


def crowd_mib(results):
    found = [s["peak_bytes"] for s in results.samples
             if s["workload"] == "crowd" and s["clients"] >= CROWD and s.get("peak_bytes")]
    return max(found) / MIB if found else None


def media_of(results, sign):
    """The media on which workloads of this name were measured; if none, one all the same."""
    found = {s["medium"] for s in results.samples if s["workload"].startswith(sign)}
    return [medium for medium in ("tmpfs", "disk") if medium in found] or ["tmpfs"]


def judge(results):
    """A dict for each figure, of the media that were measured."""
    figures = [f for make, sign in ((local_figures, "create"), (walk_figures, "ls -lR"),
                                    (store_figures, "archive"))
               for medium in media_of(results, sign) for f in make(medium)]
    figures.append(Figure("memory of the daemon, 1,000 clients writing", 512, got=crowd_mib,
                          unit="MiB", most=True,
                          note="rings included; with the paths of this workload alone, not with "
                               "10 million"))
    return [f.judge(results) for f in figures]
