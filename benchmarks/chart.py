"""Results as a picture: ratios on a logarithmic scale, seppo in its own colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.results import Results
from benchmarks.table import number, span
from benchmarks.workloads import Workload

OURS, THEIRS, REFERENCE, INK = "#d1495b", "#a9b8c6", "#5f7486", "#22303c"
ROW = 0.27  # inches a bar
HEAD = 0.62  # inches for the title of a group


def draw(
    measured: Mapping[str, tuple[Workload, Results]], machine: Mapping[str, Any], path: str
) -> None:
    """Write the picture.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = [(w, r, _bars(w, r)) for w, r in measured.values()]
    groups = [group for group in groups if group[2]]
    if not groups:
        raise ValueError("there is nothing to draw")
    left, right = _two_columns(groups)
    inches = max(_height(left), _height(right)) + 1.3
    figure = plt.figure(figsize=(13.0 if right else 7.0, inches), facecolor="white")
    for column, part in enumerate((left, right)):
        top = inches - 0.95
        for workload, results, bars in part:
            height = ROW * len(bars)
            top -= HEAD
            x = (1.75 + 6.5 * column) / figure.get_figwidth()
            box = [x, (top - height) / inches, 4.3 / figure.get_figwidth(), height / inches]
            _draw_group(figure.add_axes(box), workload, results, bars)
            top -= height
    _write_heading(figure, machine, inches)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _bars(workload: Workload, results: Results) -> list[tuple[str, float]]:
    ratios = {peer: results.ratio(peer, workload.reference) for peer in results.entries}
    known = [(peer, ratio) for peer, ratio in ratios.items() if ratio]
    return sorted(known, key=lambda bar: bar[1])


def _height(groups: list[Any]) -> float:
    return sum(HEAD + ROW * len(bars) for _, _, bars in groups)


def _two_columns(groups: list[Any]) -> tuple[list[Any], list[Any]]:
    """Split where the columns come out most alike."""
    cuts = range(1, len(groups) + 1)
    cut = min(cuts, key=lambda i: max(_height(groups[:i]), _height(groups[i:])))
    return groups[:cut], groups[cut:]


def _draw_group(
    axes: Any, workload: Workload, results: Results, bars: list[tuple[str, float]]
) -> None:
    ratios = [ratio for _, ratio in bars]
    low, high = min(ratios) / 2.2, max(max(ratios), 1.0) * 1.3
    places = range(len(bars))
    colours = [_colour(peer, workload) for peer, _ in bars]
    axes.barh(places, [r - low for r in ratios], left=low, height=0.72, color=colours, zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(low, high * (high / low) ** 0.32)  # room for the figures
    axes.axvline(1.0, color=REFERENCE, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks(places, [PEERS[peer].title for peer, _ in bars])
    for label, (peer, _) in zip(axes.get_yticklabels(), bars, strict=True):
        is_ours = peer == "seppo"
        label.set(
            color=OURS if is_ours else INK, fontsize=9, weight="bold" if is_ours else "normal"
        )
    for place, (peer, ratio) in enumerate(bars):
        text = f"{number(ratio)}×  {span(results.median(peer))}"  # noqa: RUF001
        weight = "bold" if peer == "seppo" else "normal"
        axes.annotate(
            text, (ratio, place), (4, 0), textcoords="offset points", va="center",
            fontsize=8, color=INK, weight=weight, zorder=3,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
    axes.tick_params(which="both", bottom=False, labelbottom=False, left=False)
    axes.spines[:].set_visible(False)
    axes.patch.set_facecolor("none")
    what = workload.measures.format(**results.params).split(" (chunks")[0].split(";")[0]
    title = f"{workload.name}  "
    axes.annotate(
        title,
        (0, 1),
        (-105, 16),
        "axes fraction",
        "offset points",
        fontsize=11,
        weight="bold",
        color=INK,
    )
    axes.annotate(
        f"{what} · 1 = {PEERS[workload.reference].title}",
        (0, 1), (-105, 4), "axes fraction", "offset points", fontsize=8, color=REFERENCE,
    )  # fmt: skip


def _colour(peer: str, workload: Workload) -> str:
    if peer == "seppo":
        return OURS
    return REFERENCE if peer == workload.reference else THEIRS


def _write_heading(figure: Any, machine: Mapping[str, Any], inches: float) -> None:
    left = 0.3 / figure.get_figwidth()
    figure.text(
        left, 1 - 0.42 / inches, "Time by that of the reference (dark, dashed): shorter is better",
        fontsize=15, weight="bold", color=INK,
    )  # fmt: skip
    figure.text(
        left, 1 - 0.68 / inches,
        f"log scales, one for each group · {machine['cpu']}, {machine['cpus']} CPUs · "
        f"Python {machine['python']} · "
        f"{machine['date'][:10]} · commit {machine['commit']} · {machine['command']}",
        fontsize=8.5, color=REFERENCE,
    )  # fmt: skip
