# SPDX-License-Identifier: MIT
"""`make bench` does not rot: its smallest plan runs, and says what it is there to say.

Nothing is asserted of how fast anything was.
"""

import json
import os
import re
import xml.dom.minidom

import pytest

from pylib import ebb, proc

BENCH = os.path.join(proc.REPO, "bench", "bench")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """(results.json, report.html) of one run."""
    out = tmp_path_factory.mktemp("bench")
    proc.run(BENCH, "--tiny", "--out", out, deadline=200)
    with open(out / "results.json", encoding="utf-8") as file:
        results = json.load(file)
    with open(out / "report.html", encoding="utf-8") as file:
        return results, file.read()


def medians(results):
    return {(m["workload"], m["system"]): m for m in results["medians"]}


def test_everything_was_measured_and_nothing_went_wrong(measured):
    results, _ = measured
    assert results["complaints"] == []
    assert not [s for s in results["samples"] if s.get("error")]
    found = medians(results)
    both = [f"{op} 1536 x2" for op in ("create", "read", "stat first", "stat")]
    both += [f"{name} {state}" for name in ("ls -lR", "find -newer", "find -type f", "cp -r")
             for state in ("cold", "warm")]
    for name in both:
        for system in ("native", "ebbfs"):
            assert found[name, system]["rate"] > 0, (name, system)
    for step in ("archive", "release", "lone read", "tar", "restore"):
        for what in ("small", "big", "captures"):
            assert found[f"{step} {what}", "ebbfs, dir"]["rate"] > 0, (step, what)


def test_figures_are_plausible(measured):
    results, _ = measured
    found = medians(results)
    for name in ("create 1536 x2", "read 1536 x2"):
        mine, native = found[name, "ebbfs"], found[name, "native"]
        assert 0 < mine["p50_us"] <= mine["p90_us"] <= mine["p99_us"] <= mine["max_us"] * 1.07
        assert mine["client_us"] > 0 and mine["daemon_us"] > 0 and native["daemon_us"] == 0
        assert mine["cpu_us"] == pytest.approx(mine["client_us"] + mine["daemon_us"])
        assert mine["bytes"] == mine["files"] * 1536
        assert mine["peak_bytes"] > 1 << 20
    assert found["archive small", "ebbfs, dir"]["daemon_us"] > 0
    machine = results["machine"]
    assert machine["cores"] >= 1 and machine["kernel"] and 0 <= machine["used_by_others_pct"] <= 100
    assert machine["versions"]["ebbfs"]


def test_each_figure_to_reach_has_a_verdict(measured):
    results, report = measured
    table = results["figures"]
    assert len(table) > 15
    for row in table:
        assert row["verdict"] in ("reached", "missed", "not measured")
        assert (row["got"] is None) == (row["verdict"] == "not measured")
        assert row["what"] in report.rsplit("<h2>", 1)[1]
    found = {row["what"]: row for row in table}
    stat = found["warm stat, 2 clients, beside native (disk)"]
    rates = [medians(results)["stat 1536 x2", system]["rate"] for system in ("ebbfs", "native")]
    assert stat["got"] == pytest.approx(rates[0] / rates[1])
    assert stat["verdict"] == ("reached" if stat["got"] >= 0.8 else "missed")


def test_report_can_be_read(measured):
    results, report = measured
    plots = re.findall(r"<svg .*?</svg>", report)
    assert len(plots) >= 5
    for plot in plots:
        assert xml.dom.minidom.parseString(plot).getElementsByTagName("text")
    assert results["machine"]["kernel"] in report
    rate = medians(results)["create 1536 x2", "ebbfs"]["rate"]
    assert f"<td>{rate:,.0f}</td>" in report
    assert "What went wrong" not in report


def test_nothing_is_left(measured):
    assert measured and not ebb.mounts
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        assert "/bench-1/" not in file.read()
