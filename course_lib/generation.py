"""Writing text: token by token, or several a pass with checked drafts from the model's own MTP modules."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_lib.cache import Cache, LayerCache
from course_lib.model import MiniDeepSeek
from course_lib.speculative import verify_greedy, verify_sampled

PLAIN, ACCEPTED, REPLACED, FREE = "plain", "accepted", "replaced", "free"


@dataclass
class Generation:
    """What was written, and what it took."""

    tokens: Int[Tensor, "b new"]  # without the prompt
    passes: int = 0  # of the whole model, the one over the prompt among them
    offered: int = 0  # drafts that were judged, all sequences together: one after a refused draft is not
    accepted: int = 0
    cache_bytes: int = 0  # held at the end, MTP included
    origins: list[str] = field(default_factory=list)  # where each token of the first sequence came from

    @property
    def acceptance(self) -> float:
        """Share of the judged drafts that stood; nan without drafts."""
        return self.accepted / self.offered if self.offered else float("nan")

    @property
    def tokens_per_pass(self) -> float:
        return self.tokens.shape[1] / self.passes


@torch.no_grad()
def generate(
    model: MiniDeepSeek,
    prompt: Int[Tensor, "b s"],
    new_tokens: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    use_cache: bool = True,
    speculate: bool = False,
    seed: int = 0,
) -> Generation:
    """Continue each prompt by `new_tokens`. `temperature` 0 takes the likeliest token, above 0 draws among the `top_p`.

    `speculate`: one draft per MTP depth, all checked in one pass; what comes out is what the model alone writes, token
    for token at temperature 0 and in distribution above it. Sequences of a batch go on together, as far as the one with
    the fewest accepted drafts.

    Raises:
        ValueError: an empty prompt, settings out of range, drafts without MTP modules or without a cache.
    """
    if prompt.shape[1] < 1 or new_tokens < 1:
        raise ValueError(f"want a prompt and new tokens, got {prompt.shape[1]} and {new_tokens}")
    if not (temperature >= 0 and 0 < top_p <= 1):
        raise ValueError(f"want temperature >= 0 and 0 < top_p <= 1, got {temperature} and {top_p}")
    if speculate and not (len(model.mtp) and use_cache):
        raise ValueError("drafts come from MTP modules and need a cache: num_nextn_predict_layers >= 1, use_cache=True")
    choose = _Chooser(temperature, top_p, seed, prompt.device)
    if speculate:
        return _speculative(model, prompt, new_tokens, choose)
    cache, tokens = model.new_cache() if use_cache else None, prompt
    for _ in range(new_tokens):
        logits = model(tokens if cache is None else tokens[:, cache.length :], cache)[:, -1]
        tokens = torch.cat([tokens, choose.token(choose.distribution(logits))], dim=1)
    held = 0 if cache is None else cache.nbytes
    return Generation(tokens[:, prompt.shape[1] :], new_tokens, cache_bytes=held, origins=[PLAIN] * new_tokens)


def _speculative(model: MiniDeepSeek, prompt: Tensor, new_tokens: int, choose: "_Chooser") -> Generation:
    cache, drafter, tokens = model.new_cache(), _Drafter(model), prompt
    hidden = model.hidden_states(prompt, cache)
    tokens = torch.cat([tokens, choose.token(choose.distribution(model.head(model.norm(hidden[:, -1]))))], dim=1)
    result = Generation(prompt, passes=1, origins=[PLAIN])
    while tokens.shape[1] < prompt.shape[1] + new_tokens:
        drafts, draft_probs = drafter.draft(hidden, tokens, choose)
        hidden = model.hidden_states(torch.cat([tokens[:, -1:], drafts], dim=1), cache)
        outcomes = choose.verify(drafts, draft_probs, choose.distribution(model.head(model.norm(hidden))))
        kept = min(map(len, outcomes))
        tokens = torch.cat([tokens, torch.stack([outcome[:kept] for outcome in outcomes])], dim=1)
        hidden = hidden[:, :kept]
        cache.truncate(tokens.shape[1] - 1)
        result.passes += 1
        result.accepted += sum(len(outcome) - 1 for outcome in outcomes)
        result.offered += sum(min(len(outcome), drafts.shape[1]) for outcome in outcomes)
        own = FREE if len(outcomes[0]) > drafts.shape[1] else REPLACED
        result.origins += ([ACCEPTED] * (len(outcomes[0]) - 1) + [own])[:kept]
    result.tokens = tokens[:, prompt.shape[1] :][:, :new_tokens]
    result.cache_bytes, result.origins = cache.nbytes + drafter.nbytes, result.origins[:new_tokens]
    return result


class _Drafter:
    """The MTP modules with their caches. Depth k reads the states of depth k-1, 0 being the main model."""

    def __init__(self, model: MiniDeepSeek):
        self.model, depths = model, len(model.mtp)
        self.caches, self.states = Cache(depths), [LayerCache() for _ in range(depths)]

    def draft(
        self, hidden: Float[Tensor, "b fresh d"], tokens: Int[Tensor, "b t"], choose: "_Chooser"
    ) -> tuple[Int[Tensor, "b depth"], Float[Tensor, "b depth z"]]:
        """A token for each depth, and what it was drawn from.

        `tokens` are settled, and `hidden` are the main model's states of those before the last that are new here.
        Rows that rest on drafts are forgotten again: the drafts may be refused.
        """
        settled, known, probs = tokens.shape[1], tokens, []
        fresh = self.model.norm(hidden) if self.model.config.mtp_normed_hidden else hidden
        for k, (module, cache, states) in enumerate(zip(self.model.mtp, self.caches, self.states, strict=True), 1):
            start, before = cache.length, states.append(fresh)
            fresh, for_head = module(before[:, start:], self.model.embedding(known[:, start + k :]), cache)
            probs.append(choose.distribution(self.model.head(for_head[:, -1])))
            known = torch.cat([known, choose.token(probs[-1])], dim=1)
            cache.truncate(max(settled - k, 0))
            states.truncate(min(settled - 1, max(settled - k + 1, 0)))
        return known[:, settled:], torch.stack(probs, dim=1)

    @property
    def nbytes(self) -> int:
        return self.caches.nbytes + sum(states.nbytes for states in self.states)


class _Chooser:
    """Turns logits into tokens; a temperature of 0 puts all weight on the likeliest."""

    def __init__(self, temperature: float, top_p: float, seed: int, device: torch.device):
        self.temperature, self.top_p = temperature, top_p
        self.generator = torch.Generator(device).manual_seed(seed)

    def distribution(self, logits: Float[Tensor, "*b z"]) -> Float[Tensor, "*b z"]:
        if self.temperature == 0:
            return logits  # only their order matters
        probs = (logits / self.temperature).softmax(-1)
        if self.top_p == 1:
            return probs
        ordered, order = probs.sort(-1, descending=True)
        ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= self.top_p, 0)  # the first always stays
        probs = torch.zeros_like(probs).scatter(-1, order, ordered)
        return probs / probs.sum(-1, keepdim=True)

    def token(self, distribution: Float[Tensor, "b z"]) -> Int[Tensor, "b one"]:
        if self.temperature == 0:
            return distribution.argmax(-1, keepdim=True)
        return distribution.multinomial(1, generator=self.generator)

    def verify(
        self, drafts: Int[Tensor, "b k"], draft_probs: Float[Tensor, "b k z"], target: Float[Tensor, "b rows z"]
    ) -> list[Int[Tensor, " accepted"]]:
        if self.temperature == 0:
            return [verify_greedy(draft, logits) for draft, logits in zip(drafts, target, strict=True)]
        uniforms = torch.rand(target.shape[:2], generator=self.generator, device=target.device, dtype=torch.float64)
        return [verify_sampled(*row) for row in zip(drafts, draft_probs, target, uniforms, strict=True)]
