"""hw2_moe, the ways in which parameters are miscounted."""

from collections.abc import Callable

from course_lib.exercises.engine import Exercise, Misconception, Section
from course_lib.exercises.hw2_parameters import (
    Config,
    Counts,
    components,
    parameter_cases,
    parameter_counts,
    per_latent_layer,
    plus,
    read_as,
    read_as_active,
    without,
)


def third_of(*names: str) -> Callable[[Config], Counts]:
    """Two matrices where there are three."""
    return plus(
        lambda config: -sum(components(config)[name][0] for name in names) // 3,
        lambda config: -sum(components(config)[name][1] for name in names) // 3,
    )


def shared_too_wide(config: Config) -> int:
    """How much wider all shared experts are when each is as wide as a dense layer."""
    width = config["intermediate_size"] - config["moe_intermediate_size"]
    return moe_layers(config) * config["n_shared_experts"] * 3 * config["hidden_size"] * width


def moe_layers(config: Config) -> int:
    return config["num_hidden_layers"] - config["first_k_dense_replace"]


def router(config: Config) -> int:
    """Centroids and biases of one layer."""
    biases = config["n_routed_experts"] if config["topk_method"] == "noaux_tc" else 0
    return config["n_routed_experts"] * config["hidden_size"] + biases


def experts_everywhere(config: Config) -> Counts:
    """Experts in the dense layers too, beside their SwiGLU."""
    dense = components(config)["dense"][0]
    total, active = parameter_counts({**config, "first_k_dense_replace": 0})
    return total + dense, active + dense


def heads_width(config: Config) -> int:
    """What the output projection takes."""
    return config["num_attention_heads"] * config["head_dim" if config["kv_lora_rank"] is None else "v_head_dim"]


NORMS = ("layer norms", "final norm", "query norm", "latent norm")

PARAMETER_COUNTS = Exercise(
    name="parameter_counts",
    points=4,
    lesson=Section("03_moe_routing", "Count 671B and 37B"),
    reference=parameter_counts,
    cases=parameter_cases,
    parts=("total", "active"),
    mistakes=[
        Misconception(
            "This matches dense first layers counted as MoE: first_k_dense_replace of them have one wide SwiGLU.",
            read_as(first_k_dense_replace=lambda c: 0),
        ),
        Misconception(
            "This matches one dense layer too many: layers 0 to first_k_dense_replace - 1 are dense.",
            read_as(first_k_dense_replace=lambda c: c["first_k_dense_replace"] + 1),
        ),
        Misconception(
            "This matches layers without their dense SwiGLU: the first first_k_dense_replace have one each.",
            without("dense"),
        ),
        Misconception(
            "This matches a dense SwiGLU in every layer: a MoE layer has its experts in that place.",
            plus(lambda c: moe_layers(c) * 3 * c["hidden_size"] * c["intermediate_size"]),
        ),
        Misconception(
            "This matches shared experts that are not active: every token passes them, beside its num_experts_per_tok.",
            without("shared", active_alone=True),
        ),
        Misconception(
            "This matches layers for multi-token prediction counted too: they come on top of the num_hidden_layers.",
            read_as(num_hidden_layers=lambda c: c["num_hidden_layers"] + c["num_nextn_predict_layers"]),
        ),
        Misconception(
            "This matches experts in every layer: the first first_k_dense_replace have a dense SwiGLU in their place.",
            experts_everywhere,
        ),
        Misconception(
            "This matches a router in one layer alone: each layer that has experts has its own.",
            plus(lambda c: (1 - moe_layers(c)) * router(c)),
        ),
        *(
            Misconception(
                "This matches one shared expert whatever n_shared_experts says: it is their number, and may be 0 "
                "(minimind#129 built one where 2 were asked for).",
                read_as(n_shared_experts=shared),
            )
            for shared in (lambda c: 1, lambda c: min(1, c["n_shared_experts"]))
        ),
        Misconception(
            "This matches heads of hidden_size / num_attention_heads numbers: each is head_dim long.",
            read_as(head_dim=lambda c: c["hidden_size"] // c["num_attention_heads"]),
        ),
        Misconception(
            "This matches an output projection from queries, h (n + r) long: it takes the values, h v long.",
            plus(
                per_latent_layer(
                    lambda c: (
                        c["hidden_size"]
                        * c["num_attention_heads"]
                        * (c["qk_nope_head_dim"] + c["qk_rope_head_dim"] - c["v_head_dim"])
                    )
                )
            ),
        ),
        Misconception(
            "This matches a model without shared experts: there are n_shared_experts beside the routed ones.",
            without("shared"),
        ),
        Misconception(
            "This matches shared experts as wide as a dense layer: each is moe_intermediate_size wide.",
            plus(shared_too_wide),
        ),
        Misconception(
            "This matches shared experts counted among the n_routed_experts: they come on top.",
            read_as(n_routed_experts=lambda c: c["n_routed_experts"] - c["n_shared_experts"]),
        ),
        Misconception(
            "This matches experts as wide as a dense layer: each is moe_intermediate_size wide.",
            read_as(moe_intermediate_size=lambda c: c["intermediate_size"]),
        ),
        Misconception(
            "This matches dense layers as narrow as an expert: they are intermediate_size wide.",
            read_as(intermediate_size=lambda c: c["moe_intermediate_size"]),
        ),
        Misconception(
            "This matches two matrices per SwiGLU: it has three, gate, up and down.",
            third_of("dense", "shared", "routed"),
        ),
        Misconception(
            "This matches two matrices per expert: a SwiGLU has three, gate, up and down.", third_of("shared", "routed")
        ),
        Misconception(
            "This matches two matrices per dense layer: a SwiGLU has three, gate, up and down.", third_of("dense")
        ),
        Misconception(
            "This matches all routed experts active: a token uses num_experts_per_tok of them in each layer.",
            lambda c: (parameter_counts(c)[0],) * 2,
        ),
        Misconception(
            "This matches one routed expert per token: it uses num_experts_per_tok of them in each layer.",
            read_as_active(num_experts_per_tok=lambda c: 1),
        ),
        Misconception(
            "This matches routed experts that are not active at all: a token uses num_experts_per_tok in each layer.",
            read_as_active(num_experts_per_tok=lambda c: 0),
        ),
        Misconception(
            "This matches the two counts exchanged: the total comes first.", lambda c: parameter_counts(c)[::-1]
        ),
        Misconception(
            "This matches the router's centroids left out: e d numbers in each layer that has experts.", without("gate")
        ),
        Misconception(
            "This matches the router left out: e centroids of d numbers in each layer with experts, and its biases.",
            without("gate", "balance biases"),
        ),
        Misconception(
            "This matches a router that is active for the chosen experts alone: it scores all of them for every token.",
            plus(
                lambda c: 0,
                lambda c: moe_layers(c) * c["hidden_size"] * (c["num_experts_per_tok"] - c["n_routed_experts"]),
            ),
        ),
        Misconception(
            "This matches balance biases left out: with topk_method noaux_tc each routed expert of a layer has one.",
            without("balance biases"),
        ),
        Misconception(
            "This matches balance biases that are not active: they take part in every choice.",
            without("balance biases", active_alone=True),
        ),
        Misconception(
            "This matches balance biases whatever the topk_method: only noaux_tc has them.",
            read_as(topk_method=lambda c: "noaux_tc"),
        ),
        Misconception(
            "This matches queries that are not compressed: with q_lora_rank set they go down to it, and up.",
            read_as(q_lora_rank=lambda c: None),
        ),
        Misconception(
            "This matches the query's way down left out: with q_lora_rank set, d q comes before q h (n + r).",
            plus(per_latent_layer(lambda c: -c["hidden_size"] * (c["q_lora_rank"] or 0))),
        ),
        Misconception(
            "This matches queries without a rotary part: each head's is n + r long.",
            plus(
                per_latent_layer(
                    lambda c: -(c["q_lora_rank"] or c["hidden_size"]) * c["num_attention_heads"] * c["qk_rope_head_dim"]
                )
            ),
        ),
        Misconception(
            "This matches keys and values that are not compressed: with kv_lora_rank set they are made of the latent.",
            read_as(kv_lora_rank=lambda c: None),
        ),
        Misconception(
            "This matches the rotary key left out: its projection from d to r stands beside that of the latent.",
            without("rotary key"),
        ),
        Misconception(
            "This matches a rotary key per head: all heads share one, d r numbers a layer.",
            plus(per_latent_layer(lambda c: c["hidden_size"] * c["qk_rope_head_dim"] * (c["num_attention_heads"] - 1))),
        ),
        Misconception(
            "This matches n + r per head made of the latent: only n is, the rotary key has a projection of its own.",
            plus(per_latent_layer(lambda c: c["kv_lora_rank"] * c["num_attention_heads"] * c["qk_rope_head_dim"])),
        ),
        Misconception(
            "This matches values as long as the keys' n: v_head_dim is a size of its own.",
            read_as(v_head_dim=lambda c: c["qk_nope_head_dim"]),
        ),
        Misconception(
            "This matches keys made of the latent, and no values: these need c h v more numbers a layer.",
            plus(per_latent_layer(lambda c: -c["kv_lora_rank"] * c["num_attention_heads"] * c["v_head_dim"])),
        ),
        Misconception(
            "This matches an output projection from d to d: it takes the heads, h v (plain: h head_dim) long.",
            plus(lambda c: c["num_hidden_layers"] * c["hidden_size"] * (c["hidden_size"] - heads_width(c))),
        ),
        Misconception("This matches the output projection left out: it brings the heads back to d.", without("output")),
        Misconception(
            "This matches keys and values for every query head: there are num_key_value_heads of them.",
            read_as(num_key_value_heads=lambda c: c["num_attention_heads"]),
        ),
        Misconception(
            "This matches the vocabulary counted once: without tie_word_embeddings the head is a matrix of its own.",
            read_as(tie_word_embeddings=lambda c: True),
        ),
        Misconception(
            "This matches a tied head counted again: with tie_word_embeddings it is the embedding.",
            read_as(tie_word_embeddings=lambda c: False),
        ),
        Misconception(
            "This matches tie_word_embeddings read the wrong way round: tied means one matrix, not two.",
            read_as(tie_word_embeddings=lambda c: not c["tie_word_embeddings"]),
        ),
        Misconception(
            "This matches an embedding that is not active: here it counts in both.",
            without("embedding", active_alone=True),
        ),
        Misconception(
            "This matches embedding and head that are not active: here they count in both.",
            without("embedding", "head", active_alone=True),
        ),
        Misconception(
            "This matches embedding and head left out: here they count in both.", without("embedding", "head")
        ),
        Misconception(
            "This matches all norms left out: 2 d a layer, d at the end, and those of the latents.", without(*NORMS)
        ),
        Misconception(
            "This matches the latents' norms left out: kv_lora_rank a layer, and q_lora_rank where it is set.",
            without("query norm", "latent norm"),
        ),
        Misconception(
            "This matches the query's norm left out: q_lora_rank a layer, where it is set.", without("query norm")
        ),
        Misconception(
            "This matches the norm of the keys' latent left out: kv_lora_rank a layer.", without("latent norm")
        ),
        Misconception("This matches the layers' norms left out: two a layer, d each.", without("layer norms")),
        Misconception(
            "This matches one norm a layer: attention and experts each have their own.",
            plus(lambda c: -c["num_hidden_layers"] * c["hidden_size"]),
        ),
        Misconception("This matches the final norm left out: d numbers, before the head.", without("final norm")),
    ],
)
