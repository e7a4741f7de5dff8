# SPDX-License-Identifier: MIT
"""A large catalogue: begun by ebbfs on an empty store and cache, filled by mkcatalogue.

In its place lie cache, store, meta/catalogue.db, samples (paths it has, evenly taken, one a line)
and facts.json (what making it cost and how large it is).
"""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import time

from pylib import ebb, proc

MAKER = os.path.join(proc.BUILD, "tests", "mkcatalogue")
SAMPLES = 100_000
VACUUM_MOST = 10_000_000        # paths: beyond, it takes as long as all the rest


class Catalogue:
    def __init__(self, place, paths, flat, keep=False):
        self.place, self.paths, self.flat, self.keep = place, paths, flat, keep
        self.facts = None

    def inside(self, *names):
        return os.path.join(self.place, *names)

    def __enter__(self):
        if os.path.exists(self.inside("facts.json")):
            with open(self.inside("facts.json"), encoding="ascii") as file:
                self.facts = json.load(file)
            return self
        for name in ("cache", "store", "meta"):
            os.makedirs(self.inside(name), exist_ok=True)
        if not os.path.exists(self.inside("samples")):
            self.fill()
        self.facts = {"make_s": float(self.read("made")), **self.sizes()}
        self.write("facts.json", json.dumps(self.facts))
        return self

    def __exit__(self, *_):
        if not self.keep:
            shutil.rmtree(self.place, ignore_errors=True)

    def read(self, name):
        with open(self.inside(name), encoding="ascii") as file:
            return file.read()

    def write(self, name, text):
        with open(self.inside(name), "w", encoding="ascii") as file:
            file.write(text)

    def fill(self):
        mount = self.mount()
        mount.start()
        mount.close()
        began = time.monotonic()
        with open(self.inside("samples.new"), "wb") as out:
            subprocess.run([MAKER, self.meta, str(self.paths), "-f", str(self.flat), "-s",
                            str(SAMPLES)], stdout=out, check=True)
        self.write("made", str(time.monotonic() - began))
        os.rename(self.inside("samples.new"), self.inside("samples"))

    @property
    def meta(self):
        return self.inside("meta", "catalogue.db")

    def mount(self, **options):
        """An ebb.Mount that is not started, on these directories."""
        mount = ebb.Mount(options=options, name="size")
        mount.cache, mount.store, mount.meta = self.inside("cache"), self.inside("store"), self.meta
        mount.store_url = "dir:" + mount.store
        mount.busy_deadline = 600       # a million inodes leave the kernel one by one
        return mount

    def samples(self, count, seed):
        """Paths, at random."""
        lines = self.read("samples").splitlines()
        return random.Random(seed).sample(lines, min(count, len(lines)))

    def directories(self, count, per_dir, seed):
        """[[path, ...], ...]: names of a few directories, at random."""
        db = sqlite3.connect(f"file:{self.meta}?mode=ro", uri=True)
        chosen = random.Random(seed)
        found = []
        for path in sorted({os.path.dirname(p) for p in self.samples(count * 2, seed)})[:count]:
            here = 1
            for part in path.split("/"):
                here, = db.execute("SELECT id FROM dir WHERE parent=? AND name=?",
                                   (here, part.encode())).fetchone()
            names = [name.decode() for name, in db.execute("SELECT name FROM file WHERE dir=?",
                                                           (here,))]
            found.append([f"{path}/{name}" for name in
                          chosen.sample(names, min(per_dir, len(names)))])
        db.close()
        return found

    def sizes(self):
        """Where the bytes are: of the file's pages, and their share a path."""
        rows = self.paths + self.flat
        db = sqlite3.connect(f"file:{self.meta}?mode=ro", uri=True)
        # How many pages: their bytes, added up by dbstat, are of 32 bits.
        pages = {name: count * 4096 for name, count in db.execute(
            "SELECT name,pageno FROM dbstat WHERE aggregate=1")}
        db.close()
        found = {"rows": rows, "bytes": os.path.getsize(self.meta),
                 "bytes_a_path": os.path.getsize(self.meta) / rows,
                 "file_bytes": pages.pop("file") / rows,
                 "file_name_bytes": pages.pop("file_name") / rows,
                 "other_bytes": sum(pages.values()) / rows,
                 "vacuumed_bytes_a_path": None}
        if self.paths <= VACUUM_MOST:
            found["vacuumed_bytes_a_path"] = self.vacuumed() / rows
        return found

    def vacuumed(self):
        copy = self.inside("vacuumed.db")
        db = sqlite3.connect(self.meta)
        db.execute("VACUUM INTO ?", (copy,))
        db.close()
        size = os.path.getsize(copy)
        os.remove(copy)
        return size
