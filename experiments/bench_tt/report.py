"""The benchmark's table and chart."""

from __future__ import annotations

import io

from experiments.bench_tt.layers import LayerRow
from experiments.bench_tt.measure import Row
from experiments.bench_tt.workloads import SYSTEMS
from experiments.runs import formatting
from experiments.runs.plots import DOTS_PER_INCH, LIGHT, Theme

_COLUMNS = (
    "lengths", "maxlen", "batch", "system", "frames/s", "ratio", "spread", "epoch s", "peak RSS",
    "GFLOP/s", "of peak",
)  # fmt: skip


def table(rows: list[Row]) -> str:
    """Markdown; the ratio is to the stepwise reference on the same batch."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---|--:|--:|---|" + "--:|" * (len(_COLUMNS) - 4)]
    for row in rows:
        cells = [
            row.lengths,
            formatting.count(row.maxlen),
            str(row.batch_size),
            row.system + (f" (failed: {row.failure})" if row.failure else ""),
            formatting.or_absent(row.frames_per_second, formatting.count),
            formatting.or_absent(row.ratio, lambda x: f"{x:.2f}x"),
            formatting.or_absent(row.spread, lambda x: f"{x:.0%}"),
            formatting.or_absent(row.epoch_seconds, lambda x: f"{x:,.1f}"),
            formatting.or_absent(row.peak_rss_bytes, lambda x: f"{x / 1e9:.2f} GB"),
            formatting.or_absent(row.projection_gflops, formatting.count),
            formatting.or_absent(row.peak_share, lambda x: f"{x:.0%}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def layer_table(rows: list[LayerRow]) -> str:
    """Markdown; milliseconds of a training step."""
    lines = [
        "| layer | features | units | batch | dense ms | tensor train ms | times faster |",
        "|---|--:|--:|---|--:|--:|--:|",
    ]
    lines += [
        f"| {row.layer} | {row.features:,} | {row.units:,} | {row.batch} | "
        f"{row.dense_milliseconds:,.2f} | {row.tt_milliseconds:,.2f} | {row.ratio:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def chart_png(rows: list[Row], *, theme: Theme = LIGHT) -> bytes:
    """Seconds an epoch by maximum length, a panel a batch size, UCF11's lengths; logarithmic."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.lengths == "ucf11"] or rows
    sizes = sorted({row.batch_size for row in rows})
    figure = Figure(figsize=(5 * len(sizes), 4), dpi=DOTS_PER_INCH, layout="constrained")
    figure.set_facecolor(theme.background)
    colours = (theme.validation, theme.grid, theme.train, theme.accent)
    for axes, size in zip(
        figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0], sizes, strict=True
    ):
        lengths = sorted({row.maxlen for row in rows})
        for k, system in enumerate(SYSTEMS):
            for place, maxlen in enumerate(lengths):
                seconds = next(
                    row.epoch_seconds
                    for row in rows
                    if (row.system, row.maxlen, row.batch_size) == (system, maxlen, size)
                )
                if seconds is None:
                    continue
                bar = axes.bar(
                    place + (k - 1.5) * 0.21,
                    seconds,
                    width=0.2,
                    color=colours[k],
                    label=system if place == 0 else None,
                )
                axes.bar_label(bar, fmt="{:,.0f}", fontsize=6, padding=1, color=theme.text)
        axes.set_yscale("log")
        axes.set_xticks(range(len(lengths)), [f"L{maxlen}" for maxlen in lengths])
        axes.set_title(f"batch {size}", color=theme.text)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("seconds an epoch of 1,280 clips")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center",
                  ncols=len(SYSTEMS), frameon=False, fontsize=8)  # fmt: skip
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor=theme.background)
    return content.getvalue()
