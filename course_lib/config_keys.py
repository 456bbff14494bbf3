"""Which keys of a config.json may be left unread: a count is right, or it is refused."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# The only value that leaves the count as it is
COUNTED_VALUES: dict[str, Any] = {
    "mlp_bias": False, "lm_head": True, "rm_head": False, "is_encoder_decoder": False, "add_cross_attention": False,
    "bias": False, "use_bias": False, "use_qk_norm": False,
}  # fmt: skip
# The only value that is built here; others change the output, not the count
BUILT_VALUES: dict[str, Any] = {
    "hidden_act": "silu", "rope_interleave": True, "use_sliding_window": False, "partial_rotary_factor": 1.0,
}  # fmt: skip
# Language models inside a multimodal config
NESTED = ("language_config", "text_config", "llm_config", "thinker_config", "language_model_config", "decoder_config")

_UNREAD = {
    # what the file is
    "model_type", "architectures", "auto_map", "name", "source", "tokenizer_class", "task_specific_params",
    "transformers_version", "unsloth_version", "unsloth_fixed", "finetuning_task",
    # number formats and quantization
    "dtype", "torch_dtype", "quantization_config", "compression_config", "pretraining_tp",
    # outputs and labels
    "use_cache", "return_dict", "problem_type", "id2label", "label2id", "num_labels", "chunk_size_feed_forward",
    "tie_encoder_decoder", "gradient_checkpointing", "max_sequence_length", "model_max_length", "max_length",
    # training
    "embd_pdrop", "resid_pdrop",
    # read elsewhere
    "qk_head_dim", "use_mla", "layer_types", "rope_parameters", "num_mtp_layers",
    *COUNTED_VALUES, *BUILT_VALUES,
}  # fmt: skip
# The same, and no model without experts has them
_OF_ROUTERS = {
    "aux_loss_alpha", "seq_aux", "ep_size", "router_aux_loss_coef", "router_jitter_noise", "output_router_logits",
}  # fmt: skip
_UNREAD_NAMES = re.compile(r"_.*|.*_token_ids?|.*dropout|output_.*")
# Each of these adds weights in some architecture
_SUSPECT = re.compile(
    r"expert|moe|lora|latent|bias|index|norm|vision|audio|draft|eagle|medusa|sparse|compress|(^|_)conv|mamba|ssm|hash|hc_"
    r"|layer_types|head|adapter|linear_attn",
    re.IGNORECASE,
)
# Qwen2's, whose biases of queries, keys and values no key mentions
_OF_QWEN = ("use_sliding_window", "max_window_layers", "layer_types")


def refuse_nested(given: Mapping[str, Any]) -> None:
    for key in NESTED:
        if isinstance(given.get(key), Mapping):
            raise ValueError(
                f"this is the config of a multimodal model; its language model is under {key!r}: "
                "save that object as a separate file to count it"
            )


def unread_keys(given: Mapping[str, Any], read: Collection[str], model_type: str) -> list[str]:
    """Keys that are set, that nothing here reads, and that may change the count.

    A named architecture ignores keys that it does not know, so only those that suggest another one are listed. Without
    a name all are, unless they are known not to matter.
    """
    routed = model_type or given.get("n_routed_experts")
    unread = _UNREAD | _OF_ROUTERS if routed else _UNREAD
    unknown = [key for key in given if key not in read and key not in unread and not _UNREAD_NAMES.fullmatch(key)]
    if model_type:
        return [key for key in unknown if given[key] and _SUSPECT.search(key)]
    return list(dict.fromkeys([*unknown, *(key for key in (*_OF_QWEN, *_OF_ROUTERS - unread) if key in given)]))


def similar(key: str, unread: Collection[str]) -> list[str]:
    """What may be a misspelling of `key`: num_routed_experts for n_routed_experts."""
    return difflib.get_close_matches(key, unread, n=1, cutoff=0.7)


def refuse_other_counts(given: Mapping[str, Any]) -> None:
    for key, counted in COUNTED_VALUES.items():
        if given.get(key) is not None and given[key] != counted:
            raise ValueError(f"{key} = {given[key]!r} changes the count, and only {counted!r} is counted here")


def unbuilt_values(given: Mapping[str, Any]) -> Iterator[str]:
    for key, built in BUILT_VALUES.items():
        if given.get(key) is not None and given[key] != built:
            yield f"{key} = {given[key]!r} (only {built!r} is)"
