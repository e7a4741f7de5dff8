# SPDX-License-Identifier: MIT
"""bench/size does not rot: a small catalogue is made, measured and told of.

Nothing is asserted of how fast anything was.
"""

import json
import os
import xml.dom.minidom

from pylib import proc

BENCH = os.path.join(proc.REPO, "bench", "size")


def test_the_smallest_curve(tmp_path):
    done = proc.run(BENCH, "--paths", "30k,60k", "--flat", "10k", "--lookups", "50", "--walk", "30k",
                    "--rounds", "1", "--keep-caches", "--out", tmp_path, deadline=200)
    with open(tmp_path / "size.json", encoding="utf-8") as file:
        found = json.load(file)
    assert [s["paths"] for s in found["samples"]] == [30_000, 60_000]
    for sample in found["samples"]:
        assert sample["rows"] == sample["paths"] + 10_000
        assert 100 < sample["file_bytes"] < 300 and 20 < sample["file_name_bytes"] < 100
        assert sample["file_bytes"] + sample["file_name_bytes"] + sample["other_bytes"] \
            <= sample["bytes_a_path"] * 1.001
        assert sample["vacuumed_bytes_a_path"] < sample["bytes_a_path"]
        assert 0 < sample["lookup_warm_p50_us"] <= sample["lookup_warm_p99_us"]
        assert 0 < sample["locate_warm_p50_us"] <= sample["locate_warm_p99_us"]
        assert 25_000 < sample["find_names"] < 35_000
    with open(tmp_path / "size.html", encoding="utf-8") as file:
        report = file.read()
    for title in ("bytes a path", "lookup, warm, p99", "find: names"):
        assert title in report and title in done.stdout
    plots = [part[:part.index("</svg>") + 6] for part in report.split("<svg")[1:]]
    assert len(plots) == 3
    for plot in plots:
        xml.dom.minidom.parseString("<svg" + plot)
