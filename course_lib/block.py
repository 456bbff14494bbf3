"""One layer of the model: attention, then a dense layer or experts."""

from jaxtyping import Float
from torch import Tensor, nn

from course_lib.attention import Attention
from course_lib.cache import LayerCache
from course_lib.config import ModelConfig
from course_lib.mla import MLA
from course_lib.moe import MoE, SwiGLU


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
