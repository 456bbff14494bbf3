"""Tiny configs, every axis of another size, so that a swapped axis cannot pass; a place to download from."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from course_lib import fetch
from course_lib.config import ModelConfig, RopeScaling

YARN = RopeScaling(rope_type="yarn", factor=40.0, original_max_position_embeddings=64, mscale=1.0, mscale_all_dim=0.707)


def tiny_mla(**changes: Any) -> ModelConfig:
    sizes: dict[str, Any] = {
        "vocab_size": 37, "hidden_size": 26, "intermediate_size": 42, "num_hidden_layers": 2,
        "num_attention_heads": 5, "kv_lora_rank": 14, "q_lora_rank": 11,
        "qk_nope_head_dim": 7, "qk_rope_head_dim": 6, "v_head_dim": 9, "rope_theta": 500.0,
    }  # fmt: skip
    return ModelConfig(**{**sizes, **changes})


def tiny_heads(kv_heads: int, **changes: Any) -> ModelConfig:
    sizes: dict[str, Any] = {
        "vocab_size": 37, "hidden_size": 26, "intermediate_size": 42, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": kv_heads, "head_dim": 8, "rope_theta": 500.0,
    }  # fmt: skip
    return ModelConfig(**{**sizes, **changes})


def tiny_moe(**changes: Any) -> ModelConfig:
    """One dense layer, then one of 12 experts in 4 groups, routed as in V3."""
    sizes: dict[str, Any] = {
        "n_routed_experts": 12, "num_experts_per_tok": 3, "moe_intermediate_size": 10, "n_shared_experts": 2,
        "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2, "topk_method": "noaux_tc",
        "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": 2.5, "num_key_value_heads": 5,
    }  # fmt: skip
    return tiny_mla(**{**sizes, **changes})


@pytest.fixture(params=["plain", "no query compression", "yarn", "biased"])
def mla_config(request: pytest.FixtureRequest) -> ModelConfig:
    changes: dict[str, dict[str, Any]] = {
        "plain": {},
        "no query compression": {"q_lora_rank": None},
        "yarn": {"rope_scaling": YARN},
        "biased": {"attention_bias": True},
    }
    return tiny_mla(**changes[request.param])


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """For tests that grade in a sandbox. Whether one works here is tried only where such a test runs."""
    if sys.platform != "linux":
        pytest.skip("grading is for Linux")
    from course_grader.sandbox import best_kind

    if best_kind() == "bare":
        pytest.skip("needs bubblewrap")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Site:
    folder: Path
    url: str


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder that stands for the place of a download; caches are empty and COURSE_DATA is not set."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetch.pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    yield Site(folder, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
