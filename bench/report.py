# SPDX-License-Identifier: MIT
"""The report: one HTML file with nothing beside it; tables, plots, last the figures to reach."""

from html import escape

import svg
from local import cell_name
from plan import BIG, MIDDLE, SMALL
from walks import COMMANDS

LABEL = {SMALL: "1.5 KB", MIDDLE: "20 KB", BIG: "200 KB"}

STYLE = """body{font:15px/1.45 sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.15em .7em;border-bottom:1px solid #ddd}
td{text-align:right;font-variant-numeric:tabular-nums}td:first-child,th:first-child{text-align:left}
th{background:#f2f2f2;text-align:right}.reached{color:#176f2c}.missed{color:#b3261e}
pre{background:#f6f6f6;padding:.6em;overflow-x:auto;white-space:pre-wrap}
svg{display:block;margin:1em 0}"""

COLD = """Cold is the first run after a fresh mount, with the kernel's names and attributes dropped
before it (on the disk also the pages of files); what the mounted directory's own file system keeps
of the medium's blocks in tmpfs stays. Warm is the same at once again."""

METHOD = """Each system is freshly mounted on a fresh directory for each cell; all systems run a
cell one right after the other, several rounds, each round beginning with another. Tables hold
medians over the rounds; a ratio is the median of the ratios within a round. Rates depend on what
else the machine did; ratios much less: used_by_others_pct says how much of its CPU time went
elsewhere. Where in the last table the ratio of the best rounds, or of the median latencies, is far
from that of the medians, the machine was too busy for a verdict."""


def shown(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        return escape(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head, rows):
    rows = [row for row in rows if any(cell is not None for cell in row[1:])]
    if not rows:
        return ""
    return ("<table><tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>"
            + "".join("<tr>" + "".join(f"<td>{shown(c)}</td>" for c in row) + "</tr>"
                      for row in rows) + "</table>")


class Report:
    def __init__(self, bench):
        self.bench, self.results, self.plan = bench, bench.results, bench.plan
        self.names = [s.name for s in bench.systems]

    def local(self, medium):
        cells = self.plan.cells.get(medium, [])
        yield f"<h2>Local files on {medium}</h2>"
        for op, title in (("create", "Created: open O_CREAT|O_EXCL, writes of 64 KiB, close"),
                          ("read", "Read, warm"), ("stat first", "First lstat after reading"),
                          ("stat", "lstat over and over")):
            yield f"<h3>{title}: files a second</h3>"
            yield table(["", *(f"{LABEL[s]}, {c} cl." for s, c in cells)],
                        [[name, *(self.results.median(cell_name(op, s, c), medium, name, "rate")
                                  for s, c in cells)] for name in self.names])
        for op in ("create", "read"):
            for size in (SMALL, BIG):
                yield svg.bars(f"{op} {LABEL[size]} files a second, 2 clients, {medium}", [
                    (name, self.results.median(cell_name(op, size, 2), medium, name, "rate"), i)
                    for i, name in enumerate(self.names)])
        yield from self.by_clients(medium, cells)
        yield "<h3>Latency of a created file and CPU a file (client and daemon), 2 clients</h3>"
        for size in (SMALL, BIG):
            columns = ("p50_us", "p90_us", "p99_us", "p999_us", "max_us", "client_us",
                       "daemon_us", "cpu_us", "peak_bytes")
            yield table([f"us, {LABEL[size]}", *columns],
                        [[name, *(self.results.median(cell_name("create", size, 2), medium, name, c)
                                  for c in columns)] for name in self.names])

    def by_clients(self, medium, cells):
        points = {}
        for i, name in enumerate(self.names):
            series = {c: self.results.median(cell_name("create", s, c), medium, name, "rate")
                      for s, c in cells if s == SMALL}
            series = {c: rate for c, rate in series.items() if rate}
            if len(series) > 1:
                points[name] = (series, i)
        if points:
            yield svg.lines(f"create 1.5 KB files a second, {medium}", points, "clients")

    def walks(self, medium):
        yield f"<h2>Walks on {medium}</h2><p>{COLD}</p>"
        names = [f"{n} {s}" for n in (*COMMANDS, "cp -r") for s in ("cold", "warm")]
        for figure, title in (("rate", "files a second"), ("cpu_us", "CPU of client and daemon, "
                                                                     "us a file")):
            yield f"<h3>{title}</h3>"
            yield table(["", *names], [[name, *(self.results.median(w, medium, name, figure)
                                                for w in names)] for name in self.names])
        yield svg.bars(f"ls -lR cold, files a second, {medium}", [
            (name, self.results.median("ls -lR cold", medium, name, "rate"), i)
            for i, name in enumerate(self.names)])

    def store(self):
        rows = [r for r in self.results.medians()
                if r["system"].startswith(("ebbfs, rados", "ebbfs, dir", "rados bench"))]
        columns = ("files", "seconds", "rate", "mb_s", "mean_us", "p50_us", "p99_us", "max_us",
                   "daemon_us")
        yield "<h2>To the store and back</h2>"
        yield ("<p>small: 1.5 KB; big: 200 KB; captures: 200, 20 and 1.5 KB in turn. rate: files "
               "or objects a second; daemon_us: CPU of the daemon a file. Lone reads: released "
               "files one at a time in scattered order by one client, after a fresh mount.</p>")
        yield table(["what", "where", *columns],
                    [[f"{r['system']}: {r['workload']}", r["medium"], *(r.get(c) for c in columns)]
                     for r in sorted(rows, key=lambda r: (r["system"], r["medium"]))])

    def crowd(self):
        found = [s for s in self.results.samples if s["workload"] == "crowd"]
        columns = ("clients", "files", "rate", "p50_us", "p99_us", "max_us", "rss_bytes",
                   "peak_bytes")
        if found:
            yield "<h2>A crowd of clients, memory</h2>"
            yield table(["", *columns], [[s["system"], *(s.get(c) for c in columns)]
                                         for s in found])

    def figures(self, rows):
        yield "<h2>The figures to reach</h2><table><tr><th>what</th><th>wanted</th><th>got</th>" \
              "<th>best rounds</th><th>median latencies</th><th>verdict</th></tr>"
        for r in rows:
            note = f" ({escape(r['note'])})" if r["note"] else ""
            yield (f"<tr><td>{escape(r['what'])}{note}</td><td>{escape(r['wanted'])}</td>"
                   f"<td>{escape(r['shown'])}</td><td>{shown(r['best'])}</td>"
                   f"<td>{shown(r['latency'])}</td><td class=\"{r['verdict']}\">{r['verdict']}</td>"
                   "</tr>")
        yield "</table>"


def flat(value):
    if isinstance(value, dict):
        return "; ".join(f"{k}: {flat(v)}" for k, v in value.items())
    return str(value)


def html(bench, facts, figures):
    me = Report(bench)
    media = [m.name for m in bench.media]
    parts = [f"<!doctype html><meta charset=\"utf-8\"><title>ebbfs: benchmark</title>"
             f"<style>{STYLE}</style><h1>ebbfs beside others ({bench.plan.name})</h1>",
             f"<p>{METHOD}</p>",
             "<table>" + "".join(f"<tr><td>{escape(k)}</td><td>{escape(flat(v))}</td></tr>"
                                 for k, v in facts.items()) + "</table>",
             "<h2>Compared</h2><table>" + "".join(
                 f"<tr><td>{escape(s.name)}</td><td style=\"text-align:left\">{escape(s.how)}</td>"
                 "</tr>" for s in bench.systems) + "</table>"]
    done = {s["workload"].split(" ")[0] for s in bench.results.samples}
    for medium in media:
        if "create" in done and bench.plan.cells.get(medium):
            parts += me.local(medium)
    for medium in media:
        if "ls" in done and medium in bench.plan.walk_media:
            parts += me.walks(medium)
    if "archive" in done:
        parts += me.store()
    parts += me.crowd()
    troubles = bench.complaints + [f"{e['system']}, {e['workload']}: {e['error']}"
                                   for e in bench.results.errors()]
    if troubles:
        parts.append("<h2>What went wrong</h2><pre>" + escape("\n".join(troubles)) + "</pre>")
    return "\n".join([*parts, *me.figures(figures)]) + "\n"
