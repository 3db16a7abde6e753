"""Draws a comparison: a dot for each queue's median, a line from its lowest to its highest value.

On logarithmic axes, since the queues lie up to a thousand times apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compare.roster import LIMIT, OURS
from benchmarks.report import number

FIGURES: Mapping[str, str] = {"throughput": "ABC", "delay": "DE", "footprint": "FGH"}
"""Names of the files, and the workloads in each."""

_FORMATS = ("png", "svg")
_OURS, _THEIRS, _LIMIT = "#c0392b", "#34495e", "#7f8c8d"
_WIDTH, _ROW, _MARGIN = 8.0, 0.28, 1.1


class NoMatplotlib(Exception):
    """What draws is not installed."""


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every figure as PNG and as SVG, and return the files.

    Raises:
        NoMatplotlib: If the extra `bench` is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  an extra
    except ImportError as error:
        raise NoMatplotlib("no plots: pip install 'taskqueue-engine[bench]' brings matplotlib") from error
    files = []
    for name, letters in FIGURES.items():
        panels = [key for key in report["metrics"] if (report["metrics"][key]["workload"] or " ") in letters]
        panels = [key for key in panels if _positive(report, key)]
        if not panels:
            continue
        rows = [len(_positive(report, key)) for key in panels]
        height = sum(_MARGIN + _ROW * count for count in rows)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        grid = figure.add_gridspec(len(panels), 1, height_ratios=[_MARGIN + _ROW * count for count in rows])
        for at, key in enumerate(panels):
            _panel(figure.add_subplot(grid[at]), report, key)
        for kind in _FORMATS:
            path = folder / f"{name}.{kind}"
            figure.savefig(path, dpi=120)
            files.append(path)
    return files


def _positive(report: Mapping[str, Any], key: str) -> dict[str, Mapping[str, float]]:
    """Return the values that a logarithmic axis can show, the best last, since axes point up."""
    found = {
        name: queue["values"][key]
        for name, queue in report["queues"].items()
        if queue["values"].get(key, {"lowest": 0})["lowest"] > 0
    }
    lower = report["metrics"][key]["better"] == "lower"
    return dict(sorted(found.items(), key=lambda item: item[1]["median"], reverse=lower))


def _panel(axes: Any, report: Mapping[str, Any], key: str) -> None:
    metric, found = report["metrics"][key], _positive(report, key)
    for row, (name, value) in enumerate(found.items()):
        colour = {OURS: _OURS, LIMIT: _LIMIT}.get(name, _THEIRS)
        median = value["median"]
        reach = [[median - value["lowest"]], [value["highest"] - median]]
        axes.errorbar(median, row, xerr=reach, fmt="o", color=colour, capsize=3)
        axes.annotate(
            number(median),
            (median, row),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
    axes.set_xscale("log")
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(-0.6, len(found) - 0.2)
    axes.set_title(
        f"{metric['workload']}: {metric['title']} ({metric['unit']}, {metric['better']} is better)",
        fontsize=9,
    )
    axes.grid(axis="x", alpha=0.3)
