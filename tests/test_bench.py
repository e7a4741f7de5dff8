# SPDX-License-Identifier: MIT
"""`make bench` and `make bench-together` do not rot: the smallest of each runs, and says what it is
there to say.

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
    assert (f"<td>{rate:,.0f}</td>" if rate >= 100 else f"<td>{rate:.3g}</td>") in report
    assert "What went wrong" not in report


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """(together.json, together.html, output) of half a minute on a store that is late.

    The room is for three hours of the cameras, which upload one in 0.3 s: the first are removed
    as soon as some are cold, a quarter into the run.
    """
    out = tmp_path_factory.mktemp("together")
    done = proc.run(os.path.join(os.path.dirname(BENCH), "together"), "--store", "delayed",
                    "--minutes", "0.4", "--alone", "0.05", "--burst", "0.05", "--every", "3",
                    "--rate", "300", "--cameras", "4", "--files", "20", "--room", "0.02",
                    "--page-cache", "0.1", "--out", out, deadline=280)
    with open(out / "together.json", encoding="utf-8") as file:
        results = json.load(file)
    with open(out / "together.html", encoding="utf-8") as file:
        return results, file.read(), done.stdout


def test_all_happened_together(together):
    """And nothing failed: each file that was read had its bytes."""
    results, _, output = together
    assert results["complaints"] == []
    phases = results["phases"]
    assert list(phases) == ["before", "together", "burst", "after"]
    for name, phase in phases.items():
        assert phase["files_s"] > 0 and phase["cpu"]["daemon"] > 0, name
        assert phase["longest_ms"]["create"] >= phase["p99_ms"]["create"] * 0.93 > 0, name
    busy, idle = phases["together"], phases["before"]
    for what in ("archived_s", "cold_s", "tar_mb_s"):
        assert busy[what] > 0 and idle[what] == 0, what
    assert busy["removed_s"] > 0
    last = results["lines"][-1]
    assert last["errors"] == last["refused"] == last["store_errors"] == 0
    assert last["descriptors"] > 0 and last["anon_bytes"] < last["rss_bytes"]
    assert sum("files/s in" in line for line in output.splitlines()) == len(results["lines"])


def test_together_has_verdicts(together):
    results, report, output = together
    found = {v["what"]: v for v in results["verdicts"]}
    assert len(found) == len(results["verdicts"]) >= 5
    for what, row in found.items():
        assert row["verdict"] in ("reached", "missed", "not measured")
        assert what in report.rsplit("<h2>", 1)[1] and what in output
    assert found["requests that failed, or bytes that were wrong"]["verdict"] == "reached"
    assert found["growth of memory of the daemon"]["verdict"] == "not measured"
    loss = next(v["got"] for what, v in found.items() if what.startswith("loss"))
    alone = sum(results["phases"][name]["files_s"] for name in ("before", "after")) / 2
    assert loss == pytest.approx(1 - results["phases"]["burst"]["files_s"] / alone)
    for plot in re.findall(r"<svg .*?</svg>", report):
        assert xml.dom.minidom.parseString(plot).getElementsByTagName("text")


def test_nothing_is_left(measured, together):
    assert measured and together and not ebb.mounts
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = file.read()
        assert "/bench-1/" not in mounts and "/togeth-1/" not in mounts
