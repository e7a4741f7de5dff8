# SPDX-License-Identifier: MIT
"""How much is measured: everything (`make bench`), in five minutes, or just enough for a test.

Many short rounds rather than few long ones: what is compared is measured within a second or two
of each other, and what else the machine does meanwhile is the same for all.  A slow or busy machine
does fewer rounds, not longer ones: each part has its seconds.
"""

from dataclasses import dataclass, field

SMALL, MIDDLE, BIG = 1536, 20480, 204800
CAPTURE = (BIG, MIDDLE, SMALL)          # three files each


@dataclass
class Plan:
    name: str
    media: tuple = ("tmpfs", "disk")
    rounds: dict = field(default_factory=dict)      # of each kind of workload, at most
    seconds: dict = field(default_factory=dict)     # after which no more rounds are begun
    cells: dict = field(default_factory=dict)       # medium -> [(size, clients)]
    phase_ms: int = 400                             # of each phase of a cell
    cell_files: int = 40000
    cell_bytes: int = 600_000_000
    walk_files: int = 100_000
    walk_files_slow: int = 20_000
    copy_files: int = 3000
    walk_media: tuple = ("tmpfs", "disk")
    stores: tuple = ("rados", "dir")
    store_media: tuple = ("tmpfs", "disk")
    archive_files: dict = field(default_factory=dict)   # what -> files
    rados_s: int = 5                                # one node's 20 GiB are to hold all rounds
    lone_ms: int = 3000                             # of reading single released files
    crowd: int = 1000                               # clients at once
    systems: tuple = ()                             # names; () is all
    drop_caches: bool = True                        # those of the whole machine


def grid(sizes, clients):
    return [(size, count) for size in sizes for count in clients]


FULL = Plan(
    "full",
    rounds={"local": 9, "walks": 5, "rados": 3, "dir": 3},
    seconds={"local": 3600, "walks": 900, "rados": 900, "dir": 600},
    cells={"tmpfs": grid((SMALL, MIDDLE, BIG), (1, 2, 8, 64)),
           "disk": grid((SMALL, MIDDLE, BIG), (1, 2, 8, 64))},
    archive_files={"small": 60_000, "big": 3000, "captures": 3000})

QUICK = Plan(
    "quick",
    rounds={"local": 5, "walks": 3, "rados": 3, "dir": 1},
    seconds={"local": 120, "walks": 50, "rados": 70, "dir": 20},
    cells={"tmpfs": [(SMALL, 2), (BIG, 2), (SMALL, 1), (SMALL, 8), (SMALL, 64), (MIDDLE, 2)],
           "disk": [(SMALL, 2), (BIG, 2)]},
    phase_ms=150, cell_files=10_000, cell_bytes=200_000_000,
    walk_files_slow=10_000, copy_files=1500, walk_media=("tmpfs",), store_media=("tmpfs",),
    archive_files={"small": 8000, "big": 800, "captures": 900},
    rados_s=3, lone_ms=1000)

TINY = Plan(
    "tiny", media=("disk",),
    rounds={"local": 1, "walks": 1, "dir": 1},
    cells={"disk": [(SMALL, 2)]},
    phase_ms=50, cell_files=200, walk_files=500, walk_files_slow=500, copy_files=30,
    walk_media=("disk",), stores=("dir",), store_media=("disk",),
    archive_files={"small": 60, "big": 6, "captures": 30}, rados_s=1, lone_ms=200, crowd=8,
    systems=("native", "ebbfs"), drop_caches=False)

PLANS = {plan.name: plan for plan in (FULL, QUICK, TINY)}
