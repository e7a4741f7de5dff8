# SPDX-License-Identifier: MIT
"""What was measured, sample by sample, and what is made of it.

A sample is {"workload", "medium", "system", "round", and its figures}.  Between systems, figures of
the same round are compared; of several rounds the median counts.
"""

import statistics


class Results:
    def __init__(self):
        self.samples = []

    def add(self, workload, medium, system, round_, **figures):
        self.samples.append({"workload": workload, "medium": medium, "system": system,
                             "round": round_, **figures})

    def of(self, workload, medium, system, figure):
        """{round: figure}"""
        return {s["round"]: s[figure] for s in self.samples
                if (s["workload"], s["medium"], s["system"]) == (workload, medium, system)
                and s.get(figure) is not None}

    def median(self, workload, medium, system, figure):
        found = self.of(workload, medium, system, figure)
        return statistics.median(found.values()) if found else None

    def ratio(self, one, other):
        """The median of one / other over the rounds that have both; each is
        (workload, medium, system, figure)."""
        a, b = self.of(*one), self.of(*other)
        both = [a[r] / b[r] for r in a if b.get(r)]
        return statistics.median(both) if both else None

    def best_ratio(self, one, other, most):
        """The best round of one / the best of the other: what others on the machine disturbed
        least.  most: a smaller figure is the better one."""
        best = min if most else max
        a, b = self.of(*one), self.of(*other)
        return best(a.values()) / best(b.values()) if a and b and best(b.values()) else None

    def medians(self):
        """[{"workload", "medium", "system", "rounds", and the median of each figure}]"""
        keys = list(dict.fromkeys((s["workload"], s["medium"], s["system"]) for s in self.samples))
        rows = []
        for key in keys:
            mine = [s for s in self.samples
                    if (s["workload"], s["medium"], s["system"]) == key]
            row = dict(zip(("workload", "medium", "system"), key), rounds=len(mine))
            for name in dict.fromkeys(n for s in mine for n in s):
                numbers = [s[name] for s in mine if isinstance(s.get(name), (int, float))]
                if numbers and name not in ("round",) + tuple(row):
                    row[name] = statistics.median(numbers)
            rows.append(row)
        return rows

    def errors(self):
        return [s for s in self.samples if s.get("error")]
