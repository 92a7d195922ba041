"""Draws the curves of a report of mf_peers.py as SVG: test RMSE against training seconds, a panel for each table."""
import html
import math

WIDTH, HEIGHT, LEFT, TOP, GAP = 380, 260, 60, 62, 64
SPAN = 0.1  # of RMSE above the best that is shown
COLOURS = {"curate": "#c2185b", "libmf": "#1565c0", "cmfrec": "#2e7d32", "surprise": "#ef6c00", "pytorch": "#6a1b9a",
           "pytorch-gpu": "#00838f"}


def curves_of(table):
    """(peer, title, whole runs?, [(seconds, rmse)]) of all that have both."""
    for row in table["rows"]:
        points = [(point["seconds"], point["rmse"]) for point in row.get("curve", [])
                  if point["rmse"] is not None and point["seconds"]]
        if points:
            yield row["peer"], row["title"], row["curve_of"].startswith("runs"), points


def text(x, y, words, anchor="middle", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{html.escape(words)}</text>'


def draw_panel(table, left, top, number):
    curves = list(curves_of(table))
    model = f"{table['dim']} factors, {'with' if table['biases'] else 'no'} biases"
    parts = [f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>',
             text(left + WIDTH / 2, top - 8, model)]
    if not curves:
        return parts
    seconds = [point[0] for curve in curves for point in curve[3]]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)) + 1e-9)
    high = max(high, low + 1)
    bottom = min(point[1] for curve in curves for point in curve[3]) - 0.05 * SPAN

    def place(point):
        return (left + WIDTH * (math.log10(point[0]) - low) / (high - low),
                top + HEIGHT * (1 - (point[1] - bottom) / (1.05 * SPAN)))
    for power in range(low, high + 1):
        x = left + WIDTH * (power - low) / (high - low)
        parts += [f'<path d="M{x:.1f} {top}v{HEIGHT}" stroke="#ddd"/>',
                  text(x, top + HEIGHT + 16, f"{10.0 ** power:g} s")]
    for fiftieth in range(math.ceil(bottom * 50), math.floor((bottom + 1.05 * SPAN) * 50) + 1):
        y = place((10.0 ** low, fiftieth / 50))[1]
        parts += [f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#ddd"/>',
                  text(left - 6, y + 4, f"{fiftieth / 50:.2f}", "end")]
    y = place((10.0 ** low, table["target_rmse"]))[1]
    if top <= y <= top + HEIGHT:
        parts += [f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#444" stroke-dasharray="2 4"/>',
                  text(left + WIDTH - 4, y - 4, f"target {table['target_rmse']:.4f}", "end", ' fill="#444"')]
    parts += [f'<clipPath id="panel{number}"><rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}"/></clipPath>',
              f'<g clip-path="url(#panel{number})">']
    for peer, _, whole_runs, points in curves:
        places = [place(point) for point in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = COLOURS[peer]
        dashes = ' stroke-dasharray="1 3"' if whole_runs else ""
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3.2 if whole_runs else 1.6}" fill="{colour}"/>'
                  for x, y in places]
    return parts + ["</g>"]


def draw(report):
    columns = 2
    rows = math.ceil(len(report["tables"]) / columns)
    total_width = LEFT + columns * (WIDTH + GAP)
    total_height = TOP + rows * (HEIGHT + GAP) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{total_width}" height="{total_height}" '
             'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
             text(LEFT, 18, f"Test RMSE against training seconds. {report['data']['name']}, "
                  f"{report['machine']['cpu']}, {report['options']['threads']} threads. Large dots: "
                  "a run of its own each.", "start")]
    titles = {peer: title for table in report["tables"] for peer, title, _, _ in curves_of(table)}
    x = LEFT
    for peer, title in titles.items():
        parts += [f'<circle cx="{x + 5}" cy="32" r="4" fill="{COLOURS[peer]}"/>', text(x + 14, 36, title, "start")]
        x += 34 + 7 * len(title)
    for number, table in enumerate(report["tables"]):
        left = LEFT + number % columns * (WIDTH + GAP)
        parts += draw_panel(table, left, TOP + number // columns * (HEIGHT + GAP), number)
    return "\n".join([*parts, "</svg>", ""])
