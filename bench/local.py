# SPDX-License-Identifier: MIT
"""Files that are local: created, read and looked at by 1 to 64 clients at once.

A cell is one size and one number of clients.  In each round, a cell is run on every system, one
right after the other, each freshly mounted on a fresh directory; every round begins with another.
"""

import os

from place import Load
from plan import BIG, SMALL


def cell_name(op, size, clients):
    return f"{op} {size} x{clients}"


def run(bench):
    plan = bench.plan
    for round_ in bench.rounds("local", "local files"):
        for medium in bench.media:
            for size, clients in plan.cells[medium.name]:
                for system in bench.rotated(round_):
                    with bench.guarded(f"{cell_name('create', size, clients)}", medium, system):
                        run_cell(bench, round_, medium, system, size, clients)
    with bench.guarded("crowd", bench.media[0], None):
        crowd(bench)


def run_cell(bench, round_, medium, kind, size, clients):
    plan, work = bench.plan, medium.fresh()
    files = min(plan.cell_files, plan.cell_bytes // size, kind.files_max or plan.cell_files)
    source = os.path.join(work, "files")
    os.mkdir(source)
    with bench.mounted(kind, source, work) as system:
        with Load(os.path.join(system.path, "d"), clients, files, size, system) as load:
            def phase(name, op, *words):
                bench.results.add(cell_name(name, size, clients), medium.name, kind.name, round_,
                                  **load.phase(op, plan.phase_ms, *words))
            phase("create", "create")
            phase("read", "read", "loop")
            phase("stat first", "stat")
            phase("stat", "stat", "loop")
    medium.done(work)


def crowd(bench):
    """As many sessions as a site has cameras: what the daemon's memory comes to."""
    kind = bench.kind("ebbfs")
    if kind is None:
        return
    medium = bench.media[0]
    work = medium.fresh()
    source = os.path.join(work, "files")
    os.mkdir(source)
    with bench.mounted(kind, source, work) as system:
        sizes = (BIG, SMALL)
        with Load(os.path.join(system.path, "d"), bench.plan.crowd, bench.plan.crowd * 4, sizes,
                  system) as load:
            bench.results.add("crowd", medium.name, kind.name, 0, **load.phase("create"))
    medium.done(work)
