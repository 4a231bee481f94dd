"""Writes what was measured: the section of docs/BENCHMARKS.md between its marks, and its plots, as SVG."""

import html
import math
import pathlib

import rows
from systems import CONNECTIONS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "BENCHMARKS.md"
IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 70, 20, 50, 50
COLOURS = ("#1f5fa8", "#c9571b")


def text_table(r):
    lines = ["| run | floor | goal | reached | reaches |", "|---|---|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows.table(r)])


def origin(r):
    """When, where and of what something was measured."""
    machine = r["machine"]
    return (f"`{r['command']}`, {r['date']}, commit {r['commit']}. Machine: {r['cores']} cores of {machine['cpu']}, {machine['memory']},\n"
            f"Linux {machine['kernel']}")


def section(r):
    curve = "\n".join(f"| {rows.rate(run['offered_per_second'])} | {rows.rate(run['committed_per_second'])} | "
                      f"{rows.ms(run['p50_ms'])} | {rows.ms(run['p99_ms'])} | {run['errors']:,} |" for run in r["curve"])
    return f"""{origin(r)}; writing 4 KiB and syncing them takes {r['sync_seconds'] * 1e6:,.0f} µs. {r['seconds']} s a run; where
etcd and Quorate are compared, the median of {r['repeats']} turns, which alternate. {CONNECTIONS} connections carry the
clients of either.

{text_table(r)}

![Writes a second of Quorate and etcd by number of clients](images/bench-etcd.svg)

![Latency by offered load](images/bench-latency.svg)

Open loop, 256 clients; latency counts from the intended time:

| offered | committed | p50 | p99 | errors |
|---|---|---|---|---|
{curve}"""


def write(r):
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "bench-etcd.svg").write_text(etcd_plot(r))
    (IMAGES / "bench-latency.svg").write_text(latency_plot(r))
    put("make bench", section(r))


def put(command, text):
    """Writes what a command measured between its marks."""
    begin, end = f"<!-- {command}: begin -->", f"<!-- {command}: end -->"
    before, rest = PAGE.read_text().split(begin, 1)
    after = rest.split(end, 1)[1]
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def svg(title, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" '
            f'font-size="13">\n<title>{html.escape(title)}</title>\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
            f'{text(WIDTH / 2, 22, title, "middle", size=15)}\n{body}\n</svg>\n')


def text(x, y, words, anchor="start", size=13, colour="#222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{html.escape(str(words))}</text>'


def line(x1, y1, x2, y2, colour="#ccc"):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def legend(names):
    return "\n".join(f'<rect x="{LEFT + 130 * i}" y="32" width="11" height="11" fill="{COLOURS[i]}"/>'
                     + text(LEFT + 130 * i + 16, 42, name) for i, name in enumerate(names))


def ticks(most):
    """Round steps from 0 to a little above the largest value."""
    power = 10 ** math.floor(math.log10(most))
    step = next(power * part for part in (0.2, 0.5, 1, 2) if most / (power * part) <= 6)
    return [step * i for i in range(math.ceil(most / step) + 1)]


def etcd_plot(r):
    groups = [(clients, [r[name][clients]["committed_per_second"] for name in ("quorate", "etcd")]) for clients in r["quorate"]]
    scale = ticks(max(value for _, values in groups for value in values))
    y = lambda value: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / scale[-1]  # noqa: E731
    parts = [legend(["Quorate (f = 1)", "etcd, crash faults only"])]
    for tick in scale:
        parts += [line(LEFT, y(tick), WIDTH - RIGHT, y(tick)), text(LEFT - 6, y(tick) + 4, f"{tick:,.0f}", "end")]
    width = (WIDTH - LEFT - RIGHT) / len(groups)
    for i, (clients, values) in enumerate(groups):
        for j, value in enumerate(values):
            x = LEFT + width * (i + 0.2 + 0.3 * j)
            parts.append(f'<rect x="{x:.1f}" y="{y(value):.1f}" width="{0.27 * width:.1f}" '
                         f'height="{y(0) - y(value):.1f}" fill="{COLOURS[j]}"/>')
            parts.append(text(x + 0.135 * width, y(value) - 4, f"{value:,.0f}", "middle", size=11))
        parts.append(text(LEFT + width * (i + 0.5), HEIGHT - BOTTOM + 18, f"{int(clients):,}", "middle"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "clients, each with one write of 512 B under way", "middle"))
    return svg("Writes a second, one machine, all synced", "\n".join(parts))


def latency_plot(r):
    runs = [run for run in r["curve"] if run["committed"]]
    most_x = ticks(max(run["offered_per_second"] for run in runs))[-1]
    latencies = [run[name] for run in runs for name in ("p50_ms", "p99_ms")]
    low, high = math.floor(math.log10(max(0.1, min(latencies)))), math.ceil(math.log10(max(latencies)))
    high = max(high, low + 1)
    x = lambda value: LEFT + (WIDTH - LEFT - RIGHT) * value / most_x  # noqa: E731
    y = lambda value: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(value) - low) / (high - low)  # noqa: E731
    parts = [legend(["p50", "p99"])]
    for power in range(low, high + 1):
        parts += [line(LEFT, y(10 ** power), WIDTH - RIGHT, y(10 ** power)),
                  text(LEFT - 6, y(10 ** power) + 4, f"{10 ** power:g} ms", "end")]
    for tick in ticks(max(run["offered_per_second"] for run in runs)):
        parts.append(text(x(tick), HEIGHT - BOTTOM + 18, f"{tick:,.0f}", "middle"))
    for name, colour in zip(("p50_ms", "p99_ms"), COLOURS):
        points = [(x(run["offered_per_second"]), y(max(run[name], 10 ** low))) for run in runs]
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in points]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "signed transactions of 512 B offered a second", "middle"))
    return svg("Latency from the intended send time, by offered load", "\n".join(parts))
