# SPDX-License-Identifier: MIT
"""Trees that are looked through: ls -lR, find, cp -r, cold and warm.

The tree is made natively, once for each medium, before any system shows it.  Cold is the first run
after a fresh mount, with the kernel's names and attributes dropped (on the disk, the pages of files
as well); warm is the same command at once again.  passthrough_hp holds a descriptor for each file
it has shown: it is given as many of the tree's directories as its limit allows, and rates are
compared.
"""

import os

from place import Load, timed
from plan import CAPTURE, SMALL

PARTS = 20      # of the tree, so that some can be given less

COMMANDS = {
    "ls -lR": "ls -lR {0}",
    "find -newer": "find {0} -newer /proc/1",
    "find -type f": "find {0} -type f",
}


def run(bench):
    plan = bench.plan
    for medium in bench.media:
        if medium.name not in plan.walk_media:
            continue
        work = medium.fresh()
        source = os.path.join(work, "files")
        with Load(os.path.join(source, "tree"), PARTS, plan.walk_files, SMALL) as load:
            load.phase("create")
        with Load(os.path.join(source, "captures"), 1, plan.copy_files, CAPTURE) as load:
            load.phase("create")
        os.sync()       # what is not written yet is not dropped
        for round_ in bench.rounds("walks", f"walks on {medium.name}"):
            for system in bench.rotated(round_):
                with bench.guarded("walks", medium, system):
                    run_system(bench, round_, medium, system, source)
        medium.done(work)


def parts_for(bench, kind):
    """How many parts of the tree a system is given."""
    files = bench.plan.walk_files
    if kind.slow:
        files = min(files, bench.plan.walk_files_slow)
    if kind.files_max:
        files = min(files, kind.files_max)
    return max(1, files * PARTS // bench.plan.walk_files)


def run_system(bench, round_, medium, kind, source):
    parts = parts_for(bench, kind)
    files = bench.plan.walk_files // PARTS * parts
    for name, command in COMMANDS.items():
        twice(bench, round_, medium, kind, source, name, files, lambda path, command=command:
              command.format(" ".join(os.path.join(path, "tree", f"{n:04}")
                                      for n in range(parts))))
    target = medium.fresh()
    twice(bench, round_, medium, kind, source, "cp -r", bench.plan.copy_files, lambda path:
          f"cp -r {path}/captures {target}/$$")
    medium.done(target)


def twice(bench, round_, medium, kind, source, name, files, command):
    """One command on a fresh mount, cold and then warm."""
    work = medium.fresh()
    with bench.mounted(kind, source, work) as system:
        medium.drop_caches()
        for state in ("cold", "warm"):
            before = system.cpu_s()
            seconds, cpu = timed(command(system.path), shell=True)
            bench.results.add(f"{name} {state}", medium.name, kind.name, round_,
                              files=files, seconds=seconds, rate=files / seconds,
                              cpu_us=(cpu + system.cpu_s() - before) / files * 1e6,
                              **system.memory())
    medium.done(work)
