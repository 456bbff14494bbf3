"""Cache bars: one per model, against the memory of one GPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

from course_lib.accounting import Serving
from course_lib.config import ModelConfig

# colours that the colour-blind tell apart (Okabe and Ito); the kind also stands in words beside each bar
COLOURS = {"MLA": "#0072B2", "MQA": "#009E73", "GQA": "#E69F00", "MHA": "#D55E00"}
WEIGHTS = "#999999"
HALO = "paint-order:stroke;stroke:var(--jp-layout-color0,Canvas);stroke-width:5px"  # keeps lines off the letters
LEFT, RIGHT, WIDTH, ROW = 172, 484, 720, 34  # px: bars start, bars end at the latest, whole picture, one bar


@dataclass(frozen=True)
class CacheBars:
    """What the picture shows; sizes in GB = 10^9 bytes."""

    rows: Sequence[tuple[ModelConfig, Serving]]
    context: int
    users: int
    memory: float

    @property
    def limit(self) -> float:
        """Right end of the axis: fixed by the GPU, so that bars grow when the context does; » marks those beyond it."""
        return 1.3 * self.memory

    def label(self, config: ModelConfig, serving: Serving) -> str:
        if serving.weight_bytes > self.memory * 1e9:
            return f"{_gb(serving.cache_bytes)}, weights alone {_gb(serving.weight_bytes)}"
        fits = f"{serving.users_that_fit:,} user{'s' * (serving.users_that_fit != 1)} fit"
        star = " *" if self.context > config.max_position_embeddings else ""
        return f"{_gb(serving.cache_bytes)}, {fits}{star}"

    @property
    def summary(self) -> str:
        """The picture in words."""
        bars = "; ".join(f"{config.name} {self.label(config, serving)}" for config, serving in self.rows)
        return f"Caches of {self.users} users with {self.context:,} tokens each: {bars}"

    @property
    def note(self) -> str:
        beyond = any(self.context > config.max_position_embeddings for config, _ in self.rows)
        weighed = any(serving.weight_bytes for _, serving in self.rows)
        notes = ["* longer than this model was built for"] * beyond + ["grey: weights"] * weighed
        return "; ".join(notes)


def _gb(size: float) -> str:
    gigabytes = size / 1e9
    return f"{gigabytes:.3g} GB" if gigabytes < 999.5 else f"{gigabytes / 1000:.3g} TB"


def cache_svg(bars: CacheBars) -> str:
    """The picture as SVG text, in the text colour of the page it stands on."""
    scale = (RIGHT - LEFT) / bars.limit / 1e9
    bottom = ROW * len(bars.rows) + 8
    line = LEFT + scale * bars.memory * 1e9
    parts = [
        f'<svg role="img" aria-label="{escape(bars.summary)}" viewBox="0 0 {WIDTH} {bottom + 40}" width="100%" '
        f'style="max-width:{WIDTH}px;font:13px sans-serif" fill="currentColor">'
    ]
    labels = []
    for i, (config, serving) in enumerate(bars.rows):
        top, kind = ROW * i + 4, config.attention_kind
        weights = min(scale * serving.weight_bytes, RIGHT - LEFT)
        cache = min(scale * serving.cache_bytes, RIGHT - LEFT - weights)
        end = LEFT + weights + cache
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 18}" text-anchor="end">{escape(config.name)} ({kind})</text>',
            f'<rect x="{LEFT}" y="{top}" width="{weights:.1f}" height="{ROW - 10}" fill="{WEIGHTS}"/>',
            f'<rect x="{LEFT + weights:.1f}" y="{top}" width="{cache:.1f}" height="{ROW - 10}" '
            f'fill="{COLOURS[kind]}"/>',
        ]
        text = "» " * (end >= RIGHT) + bars.label(config, serving)
        labels.append(f'<text x="{end + 6:.1f}" y="{top + 17}" style="{HALO}">{text}</text>')
    parts += [
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="0" y2="{bottom}" stroke="currentColor" stroke-width="2" '
        'stroke-dasharray="6 4"/>',
        *labels,
        f'<text x="{line:.1f}" y="{bottom + 16}" text-anchor="middle">memory of the GPU: {bars.memory:g} GB</text>',
        f'<text x="{LEFT}" y="{bottom + 16}">0 GB</text>',
        f'<text x="{LEFT}" y="{bottom + 34}">{bars.note}</text></svg>',
    ]
    return "".join(parts)


def cache_figure(bars: CacheBars) -> Figure:
    """The same picture for page and print."""
    figure = Figure(figsize=(9, 0.42 * len(bars.rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    for i, (config, serving) in enumerate(bars.rows):
        weights = min(serving.weight_bytes / 1e9, bars.limit)
        cache = min(serving.cache_bytes / 1e9, bars.limit - weights)
        axes.barh(i, weights, color=WEIGHTS)
        axes.barh(i, cache, left=weights, color=COLOURS[config.attention_kind])
        end = weights + cache
        label = "» " * (end >= bars.limit) + bars.label(config, serving)
        axes.annotate(label, (end, i), (5, 0), textcoords="offset points", va="center", annotation_clip=False)
    axes.axvline(bars.memory, color="black", linestyle="--")
    axes.set_yticks(range(len(bars.rows)), [f"{config.name} ({config.attention_kind})" for config, _ in bars.rows])
    axes.set_ylim(len(bars.rows) - 0.5, -0.5)
    axes.set_xlim(0, bars.limit)
    axes.set_xlabel(f"cache [GB]; dashed: memory of the GPU, {bars.memory:g} GB   {bars.note}")
    axes.set_title(f"{bars.users} users, {bars.context:,} tokens each", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
