"""Cache bars: one per model, against the memory of one GPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from course_lib.accounting import Serving
from course_lib.config import ModelConfig
from course_lib.figures.svg import HALO, LINE, axis_end, drawing, fitted, key, lines, swatch, text, text_around
from course_lib.quantity import counted

# colours that the colour-blind tell apart (Okabe and Ito); the kind also stands in words above each bar
COLOURS = {"MLA": "#0072B2", "MQA": "#009E73", "GQA": "#E69F00", "MHA": "#D55E00"}
WEIGHTS = "#999999"
NOTHING = "No model is ticked: tick one to see its cache."
BAR = 20  # px: height of a bar
EDGE = 4  # px: room at both ends of the bars


@dataclass(frozen=True)
class CacheBars:
    """What the picture shows; sizes in GB = 10^9 bytes."""

    rows: Sequence[tuple[ModelConfig, Serving]]
    context: int
    users: int
    memory: float

    @property
    def limit(self) -> float:
        """Right end of the axis [GB]: fixed by the GPU while all fits on it and a little more, then by the bars."""
        sizes = [serving.weight_bytes + serving.cache_bytes for _, serving in self.rows]
        return axis_end(1.3 * self.memory, max(sizes, default=0) / 1e9)

    def label(self, config: ModelConfig, serving: Serving) -> str:
        size = gigabytes(serving.cache_bytes)
        if serving.weight_bytes:
            size = f"weights {gigabytes(serving.weight_bytes)} + cache {size}"
        fits = f"{counted(serving.users_that_fit, 'user')} fit{'s' * (serving.users_that_fit == 1)}"
        if serving.weight_bytes > self.memory * 1e9:
            fits = "the weights alone do not fit"
        return f"{size}, {fits}{' *' * (self.context > config.max_position_embeddings)}"

    @property
    def title(self) -> str:
        return f"{counted(self.users, 'user')}, {counted(self.context, 'token')}{' each' * (self.users != 1)}"

    @property
    def summary(self) -> str:
        """The picture in words."""
        bars = "; ".join(f"{config.name} {self.label(config, serving)}" for config, serving in self.rows)
        return f"Caches of {self.title.replace(',', ' with', 1)}: {bars or NOTHING}"

    @property
    def note(self) -> str:
        beyond = any(self.context > config.max_position_embeddings for config, _ in self.rows)
        return "* longer than this model was built for" * beyond


def gigabytes(size: float) -> str:
    """Bytes in words."""
    size /= 1e9
    return f"{size:.3g} GB" if size < 999.5 else f"{size / 1000:.3g} TB"


def cache_html(bars: CacheBars) -> str:
    """The picture for a page of any width."""
    return fitted(partial(cache_svg, bars), bars.summary)


def cache_svg(bars: CacheBars, width: int) -> str:
    """The picture, `width` px wide, in the text colour of the page that it stands on."""
    if not bars.rows:
        parts = [text(0, LINE * (i + 1), line) for i, line in enumerate(lines(NOTHING, width))]
        return drawing(width, LINE * len(parts) + 8, parts)
    scale = (width - 2 * EDGE) / bars.limit / 1e9  # px per byte
    parts, labels, y = [], [], 0.0
    for config, serving in bars.rows:
        name, said = f"{config.name} ({config.attention_kind}): ", bars.label(config, serving)
        broken = lines(name + said, width) if len(lines(name + said, width)) == 1 else [name, *lines(said, width)]
        labels += [text(EDGE, y + 14 + LINE * i, line, style=HALO) for i, line in enumerate(broken)]
        y += LINE * len(broken) + 2
        weights, cache = scale * serving.weight_bytes, scale * serving.cache_bytes
        parts.append(_bar("weights", EDGE, y, weights, WEIGHTS))
        parts.append(_bar("cache", EDGE + weights, y, cache, COLOURS[config.attention_kind]))
        y += BAR + 6
    memory = EDGE + scale * bars.memory * 1e9
    parts.append(
        f'<path class="memory" d="M{memory:.3f} 0V{y:.1f}" stroke="currentColor" stroke-width="2" '
        'stroke-dasharray="6 4"/>'
    )
    below, bottom = _below(bars, width, memory, y + 14)
    return drawing(width, bottom, [*parts, *labels, *below])


def _bar(name: str, x: float, y: float, width: float, colour: str) -> str:
    return f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{BAR}" fill="{colour}"/>'


def _below(bars: CacheBars, width: int, memory: float, y: float) -> tuple[list[str], float]:
    """The axis in words, a legend, and how high the picture is."""
    parts = [
        text_around(memory, y, f"memory of the GPU: {gigabytes(bars.memory * 1e9)}", width),
        f'<path d="M{EDGE} {y + 8:.1f}H{width - EDGE}" stroke="#888"/>',
        text(EDGE, y + 24, "0 GB"),
        text(width - EDGE, y + 24, gigabytes(bars.limit * 1e9), anchor="end"),
    ]
    items = [(swatch(WEIGHTS), "weights")] * any(serving.weight_bytes for _, serving in bars.rows)
    if bars.note:
        items.append(("", bars.note))
    legend, y = key(items, y + 24 + LINE, width)
    return [*parts, *legend], y - 10 if items else y - LINE - 10


def cache_figure(bars: CacheBars) -> Figure:
    """The same picture for page and print."""
    figure = Figure(figsize=(9, 0.42 * len(bars.rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    for i, (config, serving) in enumerate(bars.rows):
        weights, cache = serving.weight_bytes / 1e9, serving.cache_bytes / 1e9
        axes.barh(i, weights, color=WEIGHTS)
        axes.barh(i, cache, left=weights, color=COLOURS[config.attention_kind])
        label = bars.label(config, serving)
        axes.annotate(
            label, (weights + cache, i), (5, 0), textcoords="offset points", va="center", annotation_clip=False
        )
    axes.axvline(bars.memory, color="black", linestyle="--")
    axes.set_yticks(range(len(bars.rows)), [f"{config.name} ({config.attention_kind})" for config, _ in bars.rows])
    axes.set_ylim(len(bars.rows) - 0.5, -0.5)
    axes.set_xlim(0, bars.limit)
    grey = "grey: weights" * any(serving.weight_bytes for _, serving in bars.rows)
    notes = "; ".join(filter(None, (bars.note, grey)))
    axes.set_xlabel(f"cache [GB]; dashed: memory of the GPU, {bars.memory:g} GB   {notes}")
    axes.set_title(bars.title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
