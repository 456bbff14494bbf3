"""MiniDeepSeek: blocks of attention and feed-forward, a language model of any published shape."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib.block import Block
from course_lib.cache import Cache
from course_lib.config import ModelConfig
from course_lib.mtp import MTPModule
from course_lib.weights import copy_from_transformers


class MiniDeepSeek(nn.Module):
    """A decoder-only language model built from a config.

    Raises:
        ValueError: the config is of a model that the course counts but does not build; the message says why.
    """

    def __init__(self, config: ModelConfig):
        config.check_buildable()
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        depths = range(1, config.num_nextn_predict_layers + 1)
        self.mtp = nn.ModuleList(MTPModule(config, depth) for depth in depths)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=config.initializer_range)
        if config.tie_word_embeddings:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Int[Tensor, "b s"], cache: Cache | None = None) -> Float[Tensor, "b s z"]:
        """Logits of each next token. With a `cache`, `tokens` follow those already in it, and join them."""
        return self.head(self.norm(self.hidden_states(tokens, cache)))

    def hidden_states(self, tokens: Int[Tensor, "b s"], cache: Cache | None = None) -> Float[Tensor, "b s d"]:
        """What the last block hands on, before the norm that stands before the head."""
        layers = list(cache) if cache is not None else [None] * len(self.blocks)
        if len(layers) != len(self.blocks):
            raise ValueError(
                f"this cache has {len(layers)} layers, the model {len(self.blocks)}: use model.new_cache()"
            )
        x = self.embedding(tokens)
        for block, layer in zip(self.blocks, layers, strict=True):
            x = block(x, layer)
        return x

    def predict_ahead(self, tokens: Int[Tensor, "b s"]) -> list[Float[Tensor, "b _ z"]]:
        """Logits of the next token, then of each MTP depth k: row i is of token i+k+1, so k rows fewer."""
        x = self.hidden_states(tokens)
        normed = self.norm(x)
        logits, state = [self.head(normed)], normed if self.config.mtp_normed_hidden else x
        for depth, module in enumerate(self.mtp, 1):
            state, for_head = module(state[:, :-1], self.embedding(tokens[:, depth:]))
            logits.append(self.head(for_head))
        return logits

    def new_cache(self, capacity: int = 0) -> Cache:
        """An empty cache; `capacity` reserves room for that many tokens."""
        return Cache(self.config.num_hidden_layers, capacity)

    def load_transformers(self, hf_model: nn.Module, hf_mtp: nn.Module | None = None) -> "MiniDeepSeek":
        """Take the weights of a `transformers` DeepSeek V2/V3, Llama, Mistral or Qwen2 model of the same config.

        MTP weights come from its MtpModel; without one our modules keep theirs, and a warning says so.
        """
        copy_from_transformers(self, self.config, hf_model, hf_mtp)
        return self
