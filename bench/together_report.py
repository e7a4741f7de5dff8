# SPDX-License-Identifier: MIT
"""What bench/together found: the verdicts, and one HTML file."""

import os
import statistics
from html import escape

import report
import svg

FLAT_MIN_S = 1200           # a slope over less says nothing of an hour
FLAT = 0.1                  # of the daemon's memory an hour
LATE_S = 30                 # age of what is not archived, with an archive_after of seconds
STORE = ("osd", "mon", "mgr")


def slope_an_hour(points):
    """Least squares: y an hour, of [(seconds, y)]."""
    n = len(points)
    if n < 3:
        return None
    mx, my = (sum(p[i] for p in points) / n for i in (0, 1))
    below = sum((x - mx) ** 2 for x, _ in points)
    return sum((x - mx) * (y - my) for x, y in points) / below * 3600 if below else None


def verdict(what, wanted, got, shown, good):
    return {"what": what, "wanted": wanted, "got": got, "shown": shown,
            "verdict": "not measured" if good is None else "reached" if good else "missed"}


def losses(phases):
    """Of the upload, and of the upload for what CPU time the store left over."""
    alone = statistics.mean(phases[name]["files_s"] for name in ("before", "after"))
    busy = phases.get("burst", phases["together"])
    left = 1 - sum(busy["cpu"].get(name, 0) for name in STORE) / os.cpu_count()
    kept = busy["files_s"] / alone if alone else 0
    return 1 - kept, (1 - kept / left if left > 0.05 else None)


def judge(run):
    phases = run.phases()
    both = [line for line in run.lines if line["phase"] == "together"]
    loss, fair = losses(phases)
    busy = [phases[name] for name in ("burst", "together") if name in phases]
    longest = {kind: max(phase["longest_ms"][kind] for phase in busy)
               for kind in busy[0]["longest_ms"]}
    worst = max(longest, key=longest.get)
    late_s = max(line["backlog_s"] for line in both[len(both) // 2:])
    later = both[len(both) // 4:]
    slope = slope_an_hour([(line["at_s"], line["anon_bytes"]) for line in later])
    mean = sum(line["anon_bytes"] for line in later) / len(later)
    enough = sum(line["seconds"] for line in later) >= FLAT_MIN_S and slope is not None
    failed = run.lines[-1]["errors"] + max(line["refused"] for line in run.lines)
    return [
        verdict("loss of the upload while all goes on", "at most a third", loss, f"{loss:.0%}",
                loss <= 1 / 3),
        verdict("the same, beside the CPU time that the store left", "for comparison",
                fair, "-" if fair is None else f"{fair:.0%}", None),
        verdict("longest request of a client", "at most 1 s", longest[worst] / 1e3,
                f"{longest[worst] / 1e3:.2f} s ({worst}; who only slept woke up "
                f"{max(phase['late_ms'] for phase in busy) / 1e3:.2f} s late)",
                longest[worst] <= 1000),
        verdict("age of what was not archived, in the second half", f"at most {LATE_S} s", late_s,
                f"{late_s} s", late_s <= LATE_S),
        verdict("growth of memory of the daemon", f"at most {FLAT:.0%} an hour",
                slope, "-" if slope is None else f"{slope / (1 << 20):+.1f} MiB an hour of "
                f"{mean / (1 << 20):.0f}", slope <= FLAT * mean if enough else None),
        verdict("requests that failed, or bytes that were wrong", "none", failed, str(failed),
                failed == 0),
        verdict("other complaints", "none", len(run.complaints), str(len(run.complaints)),
                not run.complaints),
    ]


def table(verdicts):
    return [f"  {v['verdict']:>12}  {v['what']}: {v['shown']} ({v['wanted']})" for v in verdicts]


def curve(run, title, names, scale=1):
    """Lines over time; names: {label: function of a line}."""
    points = {}
    for i, (label, get) in enumerate(names.items()):
        series = {round(line["at_s"]): get(line) / scale for line in run.lines}
        if any(series.values()):
            points[label] = (series, i + 1)
    every = max(1, len(run.lines) // 20)
    shown = {round(line["at_s"]) for line in run.lines[::every]}
    return svg.lines(title, {label: ({x: y for x, y in series.items() if x in shown}, colour)
                             for label, (series, colour) in points.items()}, "s")


def plots(run):
    yield curve(run, "a second", {"files uploaded": lambda l: l["files_s"],
                                  "archived": lambda l: l["archived_s"],
                                  "cold files read": lambda l: l["cold_s"],
                                  "removed": lambda l: l["removed_s"]})
    yield curve(run, "longest request, ms", {kind: lambda l, k=kind: l["requests"][k]["max_ms"]
                                             for kind in ("create", "write", "open", "read",
                                                          "unlink")})
    yield curve(run, "MiB", {"daemon": lambda l: l["rss_bytes"], "its own": lambda l: l["anon_bytes"],
                             "catalogue's files": lambda l: l["meta_bytes"]}, 1 << 20)
    yield curve(run, "cores", {who: lambda l, w=who: l["cpu"].get(w, 0)
                               for who in run.lines[-1]["cpu"]})


def html(run, facts, verdicts):
    phases = run.phases()
    simple = [key for key, value in phases["together"].items() if not isinstance(value, dict)]
    who = list(dict.fromkeys(name for p in phases.values() for name in p["cpu"]))
    kinds = list(phases["together"]["longest_ms"])
    columns = ("at_s", "phase", "files_s", "archived_s", "released_s", "put_mb_s", "cold_s",
               "cold_p99_ms", "tar_mb_s", "removed_s", "file_p99_ms", "longest_ms", "longest", "late_ms",
               "rss_bytes", "anon_bytes", "descriptors", "backlog_files", "backlog_s",
               "trash_files", "meta_bytes", "page_cache_bytes", "store_free_bytes")
    parts = [f"<!doctype html><meta charset=\"utf-8\"><title>ebbfs: everything at once</title>"
             f"<style>{report.STYLE}</style><h1>ebbfs: everything at once</h1>",
             "<table>" + "".join(f"<tr><td>{escape(k)}</td><td>{escape(report.flat(v))}</td></tr>"
                                 for k, v in {**facts, **vars(run.args)}.items()) + "</table>",
             "<h2>Phases</h2>", report.table(["", *simple], [[name, *(p[key] for key in simple)]
                                                             for name, p in phases.items()]),
             "<h3>Cores in use</h3>", report.table(["", *who], [[name, *(p["cpu"].get(w) for w in who)]
                                                                for name, p in phases.items()]),
             "<h3>Longest request, ms</h3>",
             report.table(["", *kinds], [[name, *(p["longest_ms"][k] for k in kinds)]
                                         for name, p in phases.items()]),
             *plots(run),
             "<h2>Line by line</h2>",
             report.table(columns, [[line[c] for c in columns] for line in run.lines])]
    troubles = run.complaints + run.slow
    if troubles:
        parts.append("<h2>What went wrong, requests of over a second</h2><pre>"
                     + escape("\n".join(troubles)) + "</pre>")
    parts.append("<h2>Verdicts</h2><table><tr><th>what</th><th>wanted</th><th>got</th><th>verdict"
                 "</th></tr>" + "".join(
                     f"<tr><td>{escape(v['what'])}</td><td>{escape(v['wanted'])}</td>"
                     f"<td>{escape(v['shown'])}</td><td class=\"{v['verdict']}\">{v['verdict']}</td>"
                     "</tr>" for v in verdicts) + "</table>")
    return "\n".join(parts) + "\n"
