"""MiniDeepSeek: blocks of attention and feed-forward, a language model of any published shape."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib.attention import Attention
from course_lib.cache import Cache, LayerCache
from course_lib.config import ModelConfig
from course_lib.mla import MLA
from course_lib.moe import MoE, SwiGLU
from course_lib.weights import copy_from_transformers


class Block(nn.Module):
    """Attention, then feed-forward; each reads a normed copy of the residual stream and adds to it."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.attention = MLA(config) if config.is_mla else Attention(config)
        self.ffn_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.ffn = MoE(config) if config.is_moe(layer) else SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(self, x: Float[Tensor, "b s d"], cache: LayerCache | None = None) -> Float[Tensor, "b s d"]:
        x = x + self.attention(self.attention_norm(x), cache)
        return x + self.ffn(self.ffn_norm(x))


class MiniDeepSeek(nn.Module):
    """A decoder-only language model built from a config."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=config.initializer_range)
        if config.tie_word_embeddings:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Int[Tensor, "b s"], cache: Cache | None = None) -> Float[Tensor, "b s z"]:
        """Logits of each next token. With a `cache`, `tokens` follow those already in it, and join them."""
        layers = list(cache) if cache is not None else [None] * len(self.blocks)
        if len(layers) != len(self.blocks):
            raise ValueError(
                f"this cache has {len(layers)} layers, the model {len(self.blocks)}: use model.new_cache()"
            )
        x = self.embedding(tokens)
        for block, layer in zip(self.blocks, layers, strict=True):
            x = block(x, layer)
        return self.head(self.norm(x))

    def new_cache(self, capacity: int = 0) -> Cache:
        """An empty cache; `capacity` reserves room for that many tokens."""
        return Cache(self.config.num_hidden_layers, capacity)

    def load_transformers(self, hf_model: nn.Module) -> "MiniDeepSeek":
        """Take the weights of a `transformers` DeepSeek V2/V3, Llama, Mistral or Qwen2 model of the same config."""
        copy_from_transformers(self, self.config, hf_model)
        return self
