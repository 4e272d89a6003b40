"""The chart of the documentation: bars of CPU for each request, a panel for each scenario."""

from html import escape

from proxies import KINDS, PLAIN
from scenarios import SCENARIOS

SHOWN = ["preflight", "get", "post", "close"]
WIDTH, MARGIN, GAP = 860, 20, 36
PANEL = (WIDTH - 2 * MARGIN - GAP) / 2
NAME, VALUE = 92, 44  # room beside a bar, for the proxy's name and its figure
BAR, STEP, HEAD = 15, 21, 26

# The background is the chart's own: a page may be dark where the reader's system is not.
STYLE = """
  .back { fill: #ffffff }
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .panel { font-weight: 600 }
  .note, .value { fill: #57606a }
  .own { fill: #0b6bcb }
  .floor { fill: none; stroke: #57606a; stroke-dasharray: 3 2 }
  .other { fill: #afb8c1 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 }
    text { fill: #e6edf3 }
    .note, .value { fill: #9198a1 }
    .own { fill: #4aa3ff }
    .floor { stroke: #9198a1 }
    .other { fill: #57606a }
  }
"""


def svg(results):
    """The chart as a file of its own; its colours follow the reader's scheme."""
    shown = [s for s in SCENARIOS if s.name in SHOWN and s.name in results["scenarios"]]
    panels, bottom = [], 0
    for index, scenario in enumerate(shown):
        found = results["scenarios"][scenario.name]
        height = HEAD + STEP * len(_names(found)) + GAP
        x = MARGIN + index % 2 * (PANEL + GAP)
        y = 58 + index // 2 * height
        panels += [f'<g transform="translate({x:.0f} {y})">', *_panel(scenario.title, found), "</g>"]
        bottom = y + height
    env = results["environment"]
    note = f"{env['cpu']}, one core for each proxy, access logs on, {env['date']}"
    height = bottom - GAP + MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t">',
        '<title id="t">CPU for each request, by proxy and scenario</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<text class="title" x="{MARGIN}" y="24">CPU for each request, in µs: less is better</text>',
        f'<text class="note" x="{MARGIN}" y="42">{escape(note)}</text>',
        *panels,
        "</svg>",
        "",
    ])


def _names(found):
    return [kind.name for kind in KINDS if kind.name in found and kind not in PLAIN]


def _panel(title, found):
    names = _names(found)
    most = max(found[name]["cpu_us"] for name in names)
    yield f'<text class="panel" x="0" y="12">{escape(title)}</text>'
    for index, name in enumerate(names):
        y = HEAD + index * STEP
        cpu = found[name]["cpu_us"]
        width = (PANEL - NAME - VALUE) * cpu / most
        look = {"corsac": "own", "bare Pingora": "floor"}.get(name, "other")
        value = "void" if found[name]["failed"] else f"{cpu:.1f}"
        yield f'<text x="{NAME - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect class="{look}" x="{NAME}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        yield f'<text class="value" x="{NAME + width + 6:.1f}" y="{y + 12}">{value}</text>'
