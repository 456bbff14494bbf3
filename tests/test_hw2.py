"""The exercises of hw2_moe: solutions written otherwise, what cases must show, models we did not write, the page."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from course_grader import release
from course_lib import accounting
from course_lib.config import published, published_names
from course_lib.exercises import BANK
from tests.graded import prose, read
from tests.hf import hf

HW2 = BANK["hw2_moe"]
SEEDS = range(12)


def test_points() -> None:
    assert sum(exercise.points for exercise in HW2.values()) == 24


# Right solutions, written another way --------------------------------------------------------------------------------


def affinities_by_pairs(x: Tensor, centroids: Tensor, score: str) -> Tensor:
    products = torch.stack([torch.stack([(a.double() * b.double()).sum() for b in centroids]) for a in x])
    if score == "sigmoid":
        return 1 / (1 + (-products).exp())
    return products.exp() / products.exp().sum(1, keepdim=True)


def affinities_in_float32(x: Tensor, centroids: Tensor, score: str) -> Tensor:
    products = F.linear(x.float(), centroids.float())
    return torch.sigmoid(products) if score == "sigmoid" else F.softmax(products, dim=1, dtype=torch.float32)


def route_by_loops(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0) -> list[Tensor]:
    """Plain Python; the worst expert comes first."""
    size = scores.shape[1] // n_group
    if n_group > 1 and size < 2:
        raise ValueError("a group of one")
    chosen, weights = [], []
    for row in scores.tolist():
        biased = [score + b for score, b in zip(row, bias.tolist(), strict=True)]
        groups = [range(first, first + size) for first in range(0, len(row), size)]
        if n_group > 1:
            groups.sort(key=lambda group: -sum(sorted((biased[i] for i in group), reverse=True)[:2]))
            groups = groups[:topk_group]
        best = sorted((i for group in groups for i in group), key=lambda i: biased[i])[-top_k:]
        chosen.append(best)
        weights.append([scale * row[i] / sum(row[j] for j in best) for i in best])
    return [torch.tensor(chosen, dtype=torch.int32), torch.tensor(weights)]


def route_by_topk(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0) -> tuple[Tensor, Tensor]:
    """As in the released code, in float32, unsorted."""
    scores = scores.float()
    biased = scores + bias.float()
    if n_group != 1:
        if scores.shape[1] < 2 * n_group:
            raise ValueError
        groups = biased.view(len(scores), n_group, -1)
        best = groups.topk(2, dim=-1)[0].sum(-1).topk(topk_group, sorted=False)[1]
        closed = groups.new_ones(groups.shape[:2], dtype=torch.bool).scatter_(1, best, False)
        biased = groups.masked_fill(closed[..., None], float("-inf")).flatten(1)
    indices = torch.topk(biased, top_k, dim=-1, sorted=False)[1]
    weights = scores.gather(1, indices)
    return indices, weights / weights.sum(-1, keepdim=True) * scale


def route_by_rank(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0) -> tuple[Tensor, Tensor]:
    """By the last of a sort, in the order of the experts."""
    is_open = torch.ones_like(scores, dtype=torch.bool)
    if n_group > 1:
        worth = (scores + bias).unflatten(1, (n_group, -1)).sort(-1).values
        worth = worth[..., -1] + worth[..., -2] if worth.shape[-1] > 1 else _refuse()
        is_open = (worth.argsort(-1).argsort(-1) >= n_group - topk_group).repeat_interleave(
            scores.shape[1] // n_group, dim=1
        )
    rank = (scores + bias).where(is_open, -torch.inf).argsort(-1).argsort(-1)
    gates = scores * (rank >= scores.shape[1] - top_k)
    indices = gates.nonzero()[:, 1].view(-1, top_k)
    return indices, scale * F.normalize(gates, p=1, dim=-1).gather(1, indices)


def _refuse() -> Tensor:
    raise ValueError("a group of one expert has no two best")


def experts_by_token(x, indices, weights, w_gate, w_up, w_down) -> Tensor:
    """Matrix times vector, one token and one expert at a time."""
    out = torch.zeros(x.shape)
    for i in range(len(x)):
        for j in range(indices.shape[1]):
            expert = indices[i, j]
            hidden = F.silu(w_gate[expert] @ x[i]) * (w_up[expert] @ x[i])
            out[i] += (weights[i, j] * (w_down[expert] @ hidden)).float()
    return out


def experts_gathered(x, indices, weights, w_gate, w_up, w_down) -> Tensor:
    """The chosen experts' matrices for each token, multiplied as a batch."""
    into = x[:, None, :, None]
    hidden = F.silu(w_gate[indices] @ into) * (w_up[indices] @ into)
    return (weights[..., None] * (w_down[indices] @ hidden).squeeze(-1)).sum(dim=1)


def experts_one_by_one(x, indices, weights, w_gate, w_up, w_down) -> Tensor:
    """A loop over all experts, each with the tokens that chose it, maybe none."""
    out = torch.zeros_like(x)
    for expert in range(len(w_gate)):
        rows = (indices == expert).any(dim=-1)
        share = (weights * (indices == expert)).sum(dim=-1)[rows]
        hidden = F.silu(F.linear(x[rows], w_gate[expert])) * F.linear(x[rows], w_up[expert])
        out[rows] = torch.addmm(out[rows], share[:, None] * hidden, w_down[expert].T)
    return out


def load_by_loop(indices: Tensor, n_experts: int) -> Tensor:
    return torch.tensor([float((indices == expert).sum()) for expert in range(n_experts)])


def load_by_scatter(indices: Tensor, n_experts: int) -> Tensor:
    flat = indices.reshape(-1)
    return torch.zeros(n_experts, dtype=torch.int32).scatter_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))


def bias_by_loop(bias: Tensor, load: Tensor, speed: float) -> Tensor:
    mean = fmean(load.tolist())
    steps = [speed if one < mean else -speed if one > mean else 0.0 for one in load.tolist()]
    return torch.tensor([b + step for b, step in zip(bias.tolist(), steps, strict=True)])


def bias_by_where(bias: Tensor, load: Tensor, speed: float) -> Tensor:
    error = load.float().mean() - load
    return torch.where(error > 0, bias + speed, torch.where(error < 0, bias - speed, bias))


def loss_by_loops(scores: Tensor, indices: Tensor, alpha: float) -> float:
    losses = []
    for rows, chosen in zip(scores, indices, strict=True):
        (t, e), k = rows.shape, chosen.shape[1]
        total = 0.0
        for expert in range(e):
            frequency = e / (k * t) * sum(int(i == expert) for i in chosen.flatten())
            total += frequency * sum(float(row[expert] / row.sum()) for row in rows) / t
        losses.append(alpha * total)
    return sum(losses) / len(losses)


def loss_by_scatter(scores: Tensor, indices: Tensor, alpha: float) -> Tensor:
    scores = scores.float().requires_grad_()
    (b, t, e), k = scores.shape, indices.shape[-1]
    counts = torch.zeros(b, e).scatter_add_(1, indices.view(b, -1), torch.ones(b, t * k))
    return alpha * torch.einsum("be,bte->b", counts / (t * k / e), F.normalize(scores, p=1, dim=-1) / t).mean()


def counts_by_matrices(config: dict[str, Any]) -> list[Tensor]:
    """Shapes of all matrices and vectors, layer by layer; 0-d tensors."""
    d, h = config["hidden_size"], config["num_attention_heads"]
    always, routed, used = [(config["vocab_size"], d), (d,)], [], []
    if not config["tie_word_embeddings"]:
        always.append((config["vocab_size"], d))
    for layer in range(config["num_hidden_layers"]):
        always += [(d,), (d,)]
        if config["kv_lora_rank"] is None:
            keys = config["num_key_value_heads"] * config["head_dim"]
            always += [(h * config["head_dim"], d), (keys, d), (keys, d), (d, h * config["head_dim"])]
        else:
            c, q, r = config["kv_lora_rank"], config["q_lora_rank"], config["qk_rope_head_dim"]
            n, v = config["qk_nope_head_dim"], config["v_head_dim"]
            always += [(h * (n + r), d)] if q is None else [(q, d), (q,), (h * (n + r), q)]
            always += [(c + r, d), (c,), (h * (n + v), c), (d, h * v)]
        if layer < config["first_k_dense_replace"]:
            always += [(config["intermediate_size"], d)] * 3
            continue
        expert = [(config["moe_intermediate_size"], d)] * 3
        always += [(config["n_routed_experts"], d), *expert * config["n_shared_experts"]]
        always += [(config["n_routed_experts"],)] if config["topk_method"] == "noaux_tc" else []
        routed += expert * config["n_routed_experts"]
        used += expert * config["num_experts_per_tok"]
    return [torch.tensor(sum(torch.Size(shape).numel() for shape in always + part)) for part in (routed, used)]


OTHERWISE = [
    ("affinities", affinities_by_pairs),
    ("affinities", affinities_in_float32),
    ("route", route_by_loops),
    ("route", route_by_topk),
    ("route", route_by_rank),
    ("moe_output", experts_by_token),
    ("moe_output", experts_gathered),
    ("moe_output", experts_one_by_one),
    ("expert_load", load_by_loop),
    ("expert_load", load_by_scatter),
    ("max_violation", lambda load: max(load.tolist()) / fmean(load.tolist()) - 1),
    ("max_violation", lambda load: (load.max() - load.float().mean()) / load.float().mean()),
    ("update_bias", bias_by_loop),
    ("update_bias", bias_by_where),
    ("sequence_balance_loss", loss_by_loops),
    ("sequence_balance_loss", loss_by_scatter),
    ("parameter_counts", counts_by_matrices),
]


@pytest.mark.parametrize(("name", "solution"), OTHERWISE)
def test_a_right_solution_written_another_way_earns_everything(name: str, solution: Callable[..., Any]) -> None:
    for seed in SEEDS:
        outcome = HW2[name].grade(solution, seed)
        assert outcome.solved, outcome


# What is said of a wrong one -----------------------------------------------------------------------------------------


def test_any_order_of_experts_is_right_if_their_weights_go_along() -> None:
    def shuffled(*arguments: Any) -> tuple[Tensor, Tensor]:
        indices, weights = HW2["route"].reference(*arguments)
        order = torch.rand(weights.shape).argsort(-1)
        return indices.gather(1, order), weights.gather(1, order)

    def alone(*arguments: Any) -> tuple[Tensor, Tensor]:
        return HW2["route"].reference(*arguments)[0], shuffled(*arguments)[1]

    assert HW2["route"].grade(shuffled).solved
    assert HW2["route"].grade(alone).points == 0


def without_error(scores, bias, top_k, n_group=1, *rest: Any) -> Any:
    size = scores.shape[1] // n_group
    return HW2["route"].reference(scores, bias, top_k, *([1] if size == 1 else [n_group, *rest]))


def with_another_error(scores, bias, top_k, n_group=1, *rest: Any) -> Any:
    if scores.shape[1] < 2 * n_group and n_group > 1:
        raise IndexError("no")
    return HW2["route"].reference(scores, bias, top_k, n_group, *rest)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            without_error,
            "One case must raise a ValueError (6 groups of 1: a group's score is the sum of its two best, so it needs "
            "two), your function returned.",
        ),
        (with_another_error, "so it needs two), your function raised an IndexError: no."),
        (lambda *a: None, "expected 2 values (indices, weights), got None"),
        (lambda *a: torch.zeros(2, 13, 3), "got a tensor of shape (2, 13, 3)"),
        (lambda scores, *a: (scores, scores), "indices: expected shape (13, 3), got (13, 12)."),
        (lambda scores, bias, k, *a: (scores[:, :k],) * 2, "indices: 39 of 39 values differ"),
        (lambda scores, bias, k, *a: (scores[:, :k],) * 2, "Any order is right: `check` has sorted both"),
        (lambda scores, bias, k, *a: (scores[:, :k], [1]), "weights: expected a tensor of shape (13, 3), got a list."),
        (lambda scores, bias, k, *a: (scores[:, :k] + 0j,) * 2, "indices: expected real numbers, got torch.complex"),
        (lambda scores, bias, k, *a: (scores[:, :k].to("meta"),) * 2, "got a tensor on the device 'meta'"),
        (lambda scores, bias, k, *a: (scores[:, :k].to_sparse(),) * 2, "expected an ordinary, dense tensor"),
        (lambda scores, bias, k, *a: ([[0] * k] * len(scores),) * 2, "expected a tensor of shape (13, 3), got a list."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_route_is_said(fn: Callable[..., Any], message: str) -> None:
    outcome = HW2["route"].grade(fn)
    assert outcome.points == 0
    assert message in outcome.message


def in_dtype(narrow: torch.dtype, back: torch.dtype | None = None) -> Callable[..., Tensor]:
    """Affinities made of bfloat16 inputs in a dtype, and cast back."""

    def wrong(x: Tensor, centroids: Tensor, score: str) -> Tensor:
        if x.dtype != torch.bfloat16:
            return affinities_in_float32(x, centroids, score)
        products = torch.einsum("md,ed->me", x.to(narrow), centroids.to(narrow))
        return (torch.sigmoid(products) if score == "sigmoid" else products.softmax(1)).to(back or narrow)

    return wrong


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (in_dtype(torch.bfloat16), "This matches affinities returned in 16 bits"),
        (in_dtype(torch.float32, torch.bfloat16), "This matches affinities returned in 16 bits"),
        (in_dtype(torch.float64, torch.bfloat16), "This matches affinities returned in 16 bits"),
        (in_dtype(torch.bfloat16, torch.float32), "This matches products made in bfloat16"),
        (in_dtype(torch.bfloat16, torch.float64), "This matches products made in bfloat16"),
        (in_dtype(torch.float32, torch.float16), "This matches affinities returned in 16 bits"),
        (lambda *a: affinities_in_float32(*a).half(), "Half precision keeps only 2 or 3 digits"),
        (lambda *a: None, "Case 1 of 4: affinities: expected a tensor of shape (5, 7), got None"),
        (lambda *a: affinities_in_float32(*a).T, "affinities: expected shape (5, 7), got (7, 5)."),
    ],
)
def test_narrow_affinities_are_refused(fn: Callable[..., Any], message: str) -> None:
    for seed in SEEDS:
        outcome = HW2["affinities"].grade(fn, seed)
        assert outcome.points == 0 and message in outcome.message, outcome


def route_masked_with_0(scores, bias, top_k, n_group=1, topk_group=1, scale=1.0) -> tuple[Tensor, Tensor]:
    """As in the first release for `transformers`, in float32."""
    scores = scores.float()
    biased = scores + bias.float()
    if n_group > 1:
        worth = biased.view(len(scores), n_group, -1).topk(2, dim=-1)[0].sum(dim=-1)
        mask = torch.zeros_like(worth).scatter_(1, worth.topk(topk_group, sorted=False)[1], 1)
        biased = biased * mask.repeat_interleave(scores.shape[1] // n_group, dim=1)
    indices = biased.topk(top_k, sorted=False)[1]
    weights = scores.gather(1, indices)
    return indices, weights / (weights.sum(-1, keepdim=True) + 1e-20) * scale


def experts_written_over(x, indices, weights, w_gate, w_up, w_down) -> Tensor:
    """Adding at rows that stand there more than once."""
    out, rows = torch.zeros(x.shape), torch.arange(len(x)).repeat_interleave(indices.shape[1])
    chosen, into = indices.flatten(), x[rows][..., None]
    hidden = F.silu(w_gate[chosen] @ into) * (w_up[chosen] @ into)
    made = weights.flatten()[:, None] * (w_down[chosen] @ hidden).squeeze(-1)
    for start in range(indices.shape[1]):
        out[rows[start :: indices.shape[1]]] = made[start :: indices.shape[1]].float()
    return out


def bias_without_rest(bias: Tensor, load: Tensor, speed: float) -> Tensor:
    return torch.where(load > load.float().mean(), bias - speed, bias + speed)


def loss_of_the_batch(scores: Tensor, indices: Tensor, alpha: float) -> Tensor:
    return loss_by_scatter(scores.flatten(0, 1)[None], indices.flatten(0, 1)[None], alpha)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("route", route_masked_with_0, "closed groups masked with 0"),
        ("moe_output", experts_written_over, "the output of one expert per token"),
        ("expert_load", lambda indices, n: torch.unique(indices, return_counts=True)[1], "the used experts alone"),
        ("max_violation", lambda load: load.max() / load.float().mean(), "max/mean"),
        ("update_bias", bias_without_rest, "exactly at the mean"),
        ("sequence_balance_loss", loss_of_the_batch, "one loss over the whole batch"),
        ("parameter_counts", lambda c: counts_by_matrices({**c, "q_lora_rank": None}), "not compressed"),
    ],
)  # fmt: skip
def test_a_mistake_written_another_way_is_named(name: str, wrong: Callable[..., Any], message: str) -> None:
    for seed in SEEDS:
        outcome = HW2[name].grade(wrong, seed)
        assert outcome.points == 0 and message in outcome.message, outcome


def masked_experts(x, indices, weights, w_gate, w_up, w_down) -> Tensor:
    """Every expert on every token, one after another: right, and as slow as a dense layer of all of them."""
    out = torch.zeros_like(x)
    for expert in range(len(w_gate)):
        share = (weights * (indices == expert)).sum(dim=-1, keepdim=True)
        out += share * ((F.silu(x @ w_gate[expert].T) * (x @ w_up[expert].T)) @ w_down[expert].T)
    return out


def half_masked_experts(x, indices, weights, w_gate, w_up, w_down) -> Tensor:
    """Only used experts, but each on every token."""
    used = set(indices.flatten().tolist())
    parts = [part[list(used)] for part in (w_gate, w_up, w_down)]
    places = torch.tensor([[list(used).index(i) for i in row] for row in indices.tolist()])
    return masked_experts(x, places, weights, *parts)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (masked_experts, "The values are right. But it runs every expert on every token"),
        (half_masked_experts, "The values are right. But it runs each chosen expert on every token"),
        (
            lambda *a: experts_by_token(*a) + 0 * experts_gathered(*a),
            "But the work is more than m k experts need: each token goes through its own k alone. "
            "It did 5,040 FLOPs of matrix products; 2,520 are enough.",
        ),
    ],
)
def test_needless_experts_cost_forty_percent(fn: Callable[..., Any], message: str) -> None:
    outcome = HW2["moe_output"].grade(fn)
    assert outcome.points == 3 and message in outcome.message, outcome


# What the cases must show --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_routes_have_negative_scores_and_no_ties(seed: int) -> None:
    fewer_positive = 0
    for case in HW2["route"].cases(seed):
        biased, groups = case["scores"] + case["bias"], case.get("n_group", 1)
        assert biased.sort().values.diff().gt(1e-4).all()
        if groups == 1:
            continue
        grouped = biased.unflatten(1, (groups, -1))
        assert grouped.shape[-1] >= 3 and biased.min() < 0 and case["scale"] != 1
        worth = grouped.topk(2).values.sum(-1)
        assert worth.sort().values.diff().gt(1e-4).all()
        best = worth.topk(case["topk_group"]).indices[..., None].expand(-1, -1, grouped.shape[-1])
        positive = (grouped.gather(1, best) > 0).sum((1, 2))
        fewer_positive += int((positive < case["top_k"]).sum())
    assert fewer_positive > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_loads_have_idle_experts_and_one_at_the_mean(seed: int) -> None:
    indices, experts = HW2["expert_load"].cases(seed)[0].values()
    assert indices.max() < experts - 1
    assert (HW2["moe_output"].cases(seed)[0]["indices"] < 6).all()
    *skewed, between = (case["load"].double() for case in HW2["update_bias"].cases(seed))
    whole, half, one_idle = (case["load"].double() for case in HW2["max_violation"].cases(seed))
    assert half.mean() == 12.5
    for load in (*skewed, whole):
        assert load.sum() == 12 * len(load) and (load == 12).sum() == 1
        assert load.median() < 12 and load.min() >= 0
    assert 12 < between.mean() < 13 and {12, 13} < set(between.tolist())
    assert one_idle.mean() - one_idle.min() > one_idle.max() - one_idle.mean()


# Models that we did not write ----------------------------------------------------------------------------------------


def test_parameters_of_published_models() -> None:
    keys = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "intermediate_size",
        "moe_intermediate_size", "n_routed_experts", "n_shared_experts", "num_experts_per_tok",
        "first_k_dense_replace", "topk_method", "tie_word_embeddings",
    )  # fmt: skip
    counted = {}
    for config in map(published, published_names()):
        if config.n_routed_experts:
            counted[config.name] = HW2["parameter_counts"].reference({key: getattr(config, key) for key in keys})
            parameters = accounting.parameters(config)
            assert counted[config.name] == (parameters.total, parameters.active)
    assert counted["deepseek-v3"] == (671_026_419_200, 37_552_297_472)
    assert {"deepseek-v2", "deepseek-v2-lite", "deepseek-moe-16b", "mixtral-8x7b"} < set(counted)


def test_routing_and_experts_are_those_of_transformers() -> None:
    config = hf("DeepseekV3Config")(
        hidden_size=13, moe_intermediate_size=7, n_routed_experts=12, num_experts_per_tok=3, n_group=4, topk_group=2,
        routed_scaling_factor=2.5, norm_topk_prob=True,
    )  # fmt: skip
    config._experts_implementation = "eager"
    kinds = ("DeepseekV3TopkRouter", "DeepseekV3Experts")
    router, experts = (hf(kind, ".models.deepseek_v3.modeling_deepseek_v3")(config) for kind in kinds)
    x = torch.randn(9, 13)
    with torch.no_grad():
        for parameter in (router.weight, router.e_score_correction_bias, *experts.parameters()):
            parameter.normal_()
        _, weights, indices = router(x)
        expected = experts(x, indices, weights)
    centroids, bias = router.weight.detach(), router.e_score_correction_bias
    chosen = HW2["route"].reference(HW2["affinities"].reference(x, centroids, "sigmoid"), bias, 3, 4, 2, 2.5)
    for ours, theirs in zip(*map(HW2["route"].canonical, (chosen, (indices, weights))), strict=True):
        torch.testing.assert_close(ours, theirs)
    w_gate, w_up = experts.gate_up_proj.detach().chunk(2, dim=1)
    got = HW2["moe_output"].reference(x, *chosen, w_gate, w_up, experts.down_proj.detach())
    torch.testing.assert_close(got, expected)


# The page ------------------------------------------------------------------------------------------------------------


def rounded(values: Tensor, digits: int = 3) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values.flatten().tolist())


def test_what_the_page_works_out_by_hand_is_right() -> None:
    page, do = prose(read(release.sources()["hw2_moe"])), {name: each.reference for name, each in HW2.items()}
    x, centroids = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    for score in ("sigmoid", "softmax"):
        assert rounded(do["affinities"](x, centroids, score)) in page

    scores, bias = table_row(page, "score"), table_row(page, "bias")
    torch.testing.assert_close(table_row(page, "biased"), scores + bias)
    indices, weights = do["route"](scores[None], bias, 3, 3, 2, 2.5)
    assert indices.tolist() == [[4, 7, 3]] and "(0.625, 1.0, 0.875)" in page
    torch.testing.assert_close(weights, torch.tensor([[0.625, 1.0, 0.875]]))

    gate, up, down = (torch.tensor(w)[:, None, None] for w in ([1.0, -1.0], [3.0, 1.0], [1.0, 2.0]))
    made = do["moe_output"](torch.tensor([[2.0]]), torch.tensor([[0, 1]]), torch.tensor([[0.25, 0.75]]), gate, up, down)
    assert f"= {made.item():.3f}$" in page

    load = do["expert_load"](torch.tensor([[0, 2], [2, 3], [2, 0]]), 5)
    assert f"`{load.tolist()}`" in page and f"= {do['max_violation'](load):.1f}$" in page
    moved = do["update_bias"](table_row(page, "bias before"), table_row(page, "load"), 0.05)
    torch.testing.assert_close(moved, table_row(page, "bias after"))

    text = [table_row(page, f"scores of the {which} token") for which in ("first", "second")]
    loss = do["sequence_balance_loss"](torch.stack(text)[None], torch.tensor([[[0, 2], [0, 1]]]), 1.0)
    assert loss == pytest.approx(1.5) and "$1.5 \\cdot \\text{alpha}$" in page
    assert table_row(page, "$f P$").sum() == pytest.approx(1.5)


def table_row(page: str, name: str) -> Tensor:
    row = next(line for line in page.splitlines() if line.removeprefix(f"| {name}")[:2] in (" |", ", "))
    return torch.tensor([float(cell) for cell in row.split("|")[2:-1]])


def test_the_toy_of_the_page_has_as_many_parameters_as_it_says() -> None:
    toy: dict[str, Any] = {
        "vocab_size": 10, "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 3, "q_lora_rank": None, "kv_lora_rank": None, "qk_nope_head_dim": 0, "qk_rope_head_dim": 0,
        "v_head_dim": 0, "intermediate_size": 5, "moe_intermediate_size": 2, "n_routed_experts": 3,
        "n_shared_experts": 1, "num_experts_per_tok": 1, "first_k_dense_replace": 1, "topk_method": "greedy",
        "tie_word_embeddings": False, "num_nextn_predict_layers": 1,
    }  # fmt: skip
    source = read(release.sources()["hw2_moe"])
    page, shown = prose(source), next(cell for cell in source.cells if cell.source.startswith("toy = "))
    names: dict[str, Any] = {}
    exec(shown.source, names)
    assert names["toy"] == toy and "{} and {}".format(*HW2["parameter_counts"].reference(toy)) in shown.source
    assert "{}, active {} |".format(*HW2["parameter_counts"].reference(toy)) in page
    keys = set(HW2["parameter_counts"].cases(0)[0]["config"])
    assert keys == set(toy) and {key for key in keys if f"`{key}`" not in page} == set()
