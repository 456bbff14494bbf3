"""A whole model on one page: its stack, one block, attention and experts inside, with the sizes of its config."""

from math import ceil, sqrt
from random import Random

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from course_lib.config import ModelConfig

# Okabe and Ito, lightened; words say the same as the colours
PLAIN, ATTENTION, EXPERTS, CACHED, SHARED = "#eeeeee", "#cfe3f2", "#d3ece3", "#f9dfa8", "#f3d3e4"
CHOSEN = "#009E73"
LINE = "0.35"
WIDTH, HEIGHT = 104, 62  # of the drawing, in its own units


def anatomy_figure(config: ModelConfig) -> Figure:
    """For page and print; drawn to the sizes of `config`."""
    figure = Figure(figsize=(10.4, 6.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    _stack(axes, config)
    if config.num_nextn_predict_layers:
        _ahead(axes, config)
    _block(axes, config)
    _attention(axes, config)
    _feed_forward(axes, config)
    return figure


def _stack(axes: Axes, c: ModelConfig) -> None:
    x, width = 2, 21
    _title(axes, x, "the model")
    _words(axes, x + width / 2, 2, "tokens  [b, s]")
    _arrows(axes, x + width / 2, 3.2, 54.5)
    _box(axes, x, 5, width, 5, f"embedding\nz × d = {c.vocab_size:,} × {c.hidden_size:,}")
    _words(axes, x + width / 2 + 1, 12.5, "[b, s, d]", ha="left")
    kinds = [(c.dense_layers, "dense layer", PLAIN), (c.moe_layers, "experts", EXPERTS)]
    kinds = [kind for kind in kinds if kind[0]]
    room = 21 / len(kinds)
    for i, (number, name, colour) in enumerate(kinds):
        bottom = 15 + i * room
        for card in range(min(number, 3) - 1, 0, -1):
            _box(axes, x + 0.7 * card, bottom + 0.7 * card, width, room - 4, "", colour)
        blocks = "1 block" if number == 1 else f"{number} blocks"
        _box(axes, x, bottom, width, room - 4, f"{blocks}:\nattention, {name}", colour)
    _box(axes, x, 38.5, width, 3.5, "norm")
    _box(axes, x, 47, width, 5, f"head\nd × z = {c.hidden_size:,} × {c.vocab_size:,}")
    _words(axes, x + width / 2, 55.7, "logits of the next token\n[b, s, z]")


def _ahead(axes: Axes, c: ModelConfig) -> None:
    x, width = 29, 17
    axes.plot([12.5, 26, 26, x], [44.5, 44.5, 22.5, 22.5], color=LINE, linewidth=1)
    axes.plot([23, 27.5, 27.5, x], [7.5, 7.5, 19.5, 19.5], color=LINE, linewidth=1)
    _words(axes, 28.2, 14, "the next token,\nembedded", ha="left")
    _arrows(axes, x + width / 2, 18, 54.5)
    _box(axes, x, 18, width, 6, f"both normed,\n2d → d = {2 * c.hidden_size:,} → {c.hidden_size:,}")
    moe = c.is_moe(c.num_hidden_layers)
    _box(axes, x, 28, width, 6, "1 block:\nattention, " + ("experts" if moe else "dense"), EXPERTS if moe else PLAIN)
    _box(axes, x, 38.5, width, 3.5, "norm")
    _box(axes, x, 47, width, 5, "the same head", linestyle="--")
    _words(axes, x + width / 2, 55.7, "logits of the token\nafter that")
    depths = c.num_nextn_predict_layers
    _title(axes, x, "MTP" if depths == 1 else f"MTP, the first of {depths}")


def _block(axes: Axes, c: ModelConfig) -> None:
    x, width, middle = 52, 14, 59
    _title(axes, x, "one block")
    _words(axes, middle, 2, "x  [b, s, d]")
    _arrows(axes, middle, 3.2, 56)
    _words(axes, middle, 57.2, "x  [b, s, d]")
    kind = "experts or\ndense" if c.dense_layers and c.moe_layers else "experts" if c.moe_layers else "dense layer"
    parts = [(c.attention_kind, ATTENTION), (kind, EXPERTS if c.moe_layers else PLAIN)]
    for bottom, (name, colour) in zip((8, 32), parts, strict=True):
        _box(axes, x, bottom, width, 3.5, "norm")
        _box(axes, x, bottom + 6, width, 6, name, colour)
        axes.plot(
            [middle, x - 2, x - 2, middle], [bottom - 2.4, bottom - 2.4, *[bottom + 16] * 2], color=LINE, linewidth=1
        )
        axes.text(middle, bottom + 16, "+", ha="center", va="center", fontsize=12, zorder=4,
                  bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": LINE})  # fmt: skip
    for low, (bottom, top) in ((14, (3, 29)), (38, (33.5, 59.5))):
        for start, end in ((low, bottom), (low + 6, top)):
            axes.plot([x + width, 70], [start, end], color="0.7", linewidth=0.8, linestyle=":")


def _attention(axes: Axes, c: ModelConfig) -> None:
    h = c.num_attention_heads
    _panel(axes, 3, f"{c.attention_kind} inside: {h} heads")
    _words(axes, 86.5, 4.6, f"x: d = {c.hidden_size:,}")
    if c.is_mla:
        maps, sizes = ("q_proj", "kv_down"), (f"latent\nc = {c.kv_lora_rank}", f"key\nr = {c.rotary_dim}")
        query = f"queries: h × (n + r)\n= {h} × ({c.qk_nope_head_dim} + {c.qk_rope_head_dim})"
        each = f"each head makes its keys (n = {c.qk_nope_head_dim}) and\nvalues (v = {c.v_head_dim}) from the latent"
        width, cached = c.v_head_dim, (c.kv_lora_rank or 0) + c.qk_rope_head_dim
    else:
        kv, width = c.num_key_value_heads, c.head_dim
        maps, sizes = ("q_proj", "k_proj, v_proj"), (f"keys\n{kv} × {width}", f"values\n{kv} × {width}")
        query, each, cached = f"queries\n{h} × {width}", "each head attends", 2 * kv * width
    for left, wide, name, size in ((71.5, 14.5, maps[0], query), (87, 14.5, maps[1], None)):
        _arrows(axes, left + wide / 2, 5.6, 20)
        _box(axes, left, 7, wide, 3, name, ATTENTION)
        if size:
            _box(axes, left, 12, wide, 4.6, size)
    _box(axes, 87, 12, 7, 4.6, sizes[0], CACHED)
    _box(axes, 94.5, 12, 7, 4.6, sizes[1], CACHED)
    _words(axes, 101.5, 17.6, f"{cached:,} cached", ha="right")
    _box(axes, 71.5, 19, 30, 4.4, each, ATTENTION)
    axes.plot([86.5, 86.5], [23.4, 24.4], color=LINE, linewidth=1)
    _box(axes, 71.5, 24.4, 30, 2.6, f"o_proj: h × v = {h * width:,} → d", ATTENTION)


def _feed_forward(axes: Axes, c: ModelConfig) -> None:
    if not c.moe_layers:
        _panel(axes, 33.5, "dense inside")
        _box(axes, 75, 42, 23, 6, f"SwiGLU, {c.intermediate_size:,} wide")
        return
    e, k = c.n_routed_experts, c.num_experts_per_tok
    _panel(axes, 33.5, f"experts inside: {e} of width {c.moe_intermediate_size:,}")
    _words(axes, 86.5, 35.2, f"x: d = {c.hidden_size:,}")
    _box(axes, 71.5, 37, 11, 5.5, f"router\ne = {e}", EXPERTS)
    _words(axes, 77, 44.5, f"chooses k = {k}\n(filled)", va="bottom")
    _grid(axes, e, k)
    number = c.n_shared_experts
    if number:
        _box(axes, 71.5, 49.8, 11, 5.5, "shared\nexpert" if number == 1 else f"{number} shared\nexperts", SHARED)
    _words(axes, 86.5, 57, "sum, each chosen expert times its gate")


def _grid(axes: Axes, experts: int, chosen: int) -> None:
    """One square an expert; which are filled is for show."""
    columns = ceil(sqrt(experts))
    side = 17 / columns
    filled = Random(4).sample(range(experts), chosen)
    for i in range(experts):
        corner = 84.5 + side * (i % columns), 54.3 - side * (i // columns + 1)
        colour = CHOSEN if i in filled else "white"
        square = Rectangle(corner, 0.86 * side, 0.86 * side, facecolor=colour, edgecolor=LINE, linewidth=0.6)
        square.set_gid("expert, chosen" if i in filled else "expert")
        axes.add_patch(square)


def _panel(axes: Axes, bottom: float, title: str) -> None:
    axes.add_patch(Rectangle((70, bottom), 33, 26, facecolor="none", edgecolor="0.7", linewidth=0.8))
    axes.text(70.3, bottom + 26.4, title, fontsize=9.5, fontweight="bold")


def _title(axes: Axes, x: float, words: str) -> None:
    axes.text(x, 60, words, fontsize=9.5, fontweight="bold")


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, words: str, colour: str = PLAIN, linestyle: str = "-"
) -> None:
    style = "round,pad=0,rounding_size=0.6"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, style, facecolor=colour, edgecolor=LINE, linestyle=linestyle, zorder=3)
    )
    if words:
        axes.text(x + width / 2, y + height / 2, words, ha="center", va="center", fontsize=8, zorder=4, gid="in a box")


def _words(axes: Axes, x: float, y: float, words: str, ha: str = "center", va: str = "center") -> None:
    axes.text(x, y, words, ha=ha, va=va, fontsize=8, color="0.2", zorder=4)


def _arrows(axes: Axes, x: float, low: float, high: float) -> None:
    """The stream, upwards; boxes lie over it."""
    style = {"arrowstyle": "-|>", "color": LINE, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, high), (x, low), arrowprops=style, zorder=1)
