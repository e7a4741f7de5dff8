# SPDX-License-Identifier: MIT
"""Two kinds of plots as SVG text: bars side by side, and lines over a logarithmic axis."""

from html import escape
from math import log10

COLOURS = ("#888888", "#1b6ca8", "#d1603d", "#7fb3d9", "#e8a98f", "#5b8c5a", "#8e6c8a")
WIDTH, LEFT, ROW = 760, 190, 18


def text(x, y, words, anchor="start", extra=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def frame(title, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">'
            + text(0, 14, title, extra=' font-weight="bold"') + "".join(parts) + "</svg>")


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def bars(title, rows):
    """rows: [(label, value, colour number)]; values of None are left out."""
    rows = [row for row in rows if row[1] is not None]
    most = max((value for _, value, _ in rows), default=0) or 1
    parts = []
    for i, (label, value, colour) in enumerate(rows):
        y = 24 + i * ROW
        width = value / most * (WIDTH - LEFT - 80)
        parts += [text(LEFT - 6, y + 12, label, "end"),
                  f'<rect x="{LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{ROW - 4}" '
                  f'fill="{COLOURS[colour % len(COLOURS)]}"/>',
                  text(LEFT + width + 5, y + 12, number(value))]
    return frame(title, 30 + len(rows) * ROW, parts)


def lines(title, points, unit):
    """points: {label: ({x: y}, colour number)}; x in equal steps, y logarithmic."""
    xs = sorted({x for series, _ in points.values() for x in series})
    ys = [y for series, _ in points.values() for y in series.values() if y > 0]
    if not xs or not ys:
        return frame(title + ": nothing measured", 20, [])
    low, high = log10(min(ys)), log10(max(ys))
    low, high = low - 0.1, high + 0.1
    top, bottom, left, right = 30, 300, 70, WIDTH - 200

    def place(x, y):
        step = (right - left) / max(1, len(xs) - 1)
        return left + xs.index(x) * step, bottom - (log10(y) - low) / (high - low) * (bottom - top)
    parts = [f'<path d="M{left},{top} V{bottom} H{right}" fill="none" stroke="#444"/>',
             text(left, bottom + 32, unit)]
    parts += [text(place(x, min(ys))[0], bottom + 16, str(x), "middle") for x in xs]
    for power in range(int(low), int(high) + 2):
        for factor in (1, 3):
            value = factor * 10 ** power
            if low <= log10(value) <= high:
                y = place(xs[0], value)[1]
                parts += [text(left - 6, y + 4, number(value), "end"),
                          f'<path d="M{left},{y:.1f} H{right}" stroke="#ddd"/>']
    for i, (label, (series, colour)) in enumerate(points.items()):
        shade = COLOURS[colour % len(COLOURS)]
        dots = [place(x, y) for x, y in sorted(series.items()) if y > 0]
        path = " ".join(f"{'L' if n else 'M'}{x:.1f},{y:.1f}" for n, (x, y) in enumerate(dots))
        parts.append(f'<path d="{path}" fill="none" stroke="{shade}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{shade}"/>' for x, y in dots]
        parts += [f'<rect x="{right + 14}" y="{top + i * ROW - 9}" width="10" height="10" '
                  f'fill="{shade}"/>', text(right + 30, top + i * ROW, label)]
    return frame(title, bottom + 40, parts)
