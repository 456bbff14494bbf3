"""Writing text: token by token, or several a pass with checked drafts from the model's own MTP modules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_lib.cache import Cache, LayerCache
from course_lib.devices import place_of
from course_lib.model import MiniDeepSeek
from course_lib.speculative import verify_greedy, verify_sampled

PLAIN, ACCEPTED, REPLACED, FREE = "plain", "accepted", "replaced", "free"
Verify = Callable[..., Int[Tensor, " accepted"]]


@dataclass
class Generation:
    """What was written, and what it took."""

    tokens: Int[Tensor, "b new"]  # without the prompt, on the prompt's device
    passes: int = 0  # of the whole model, the one over the prompt among them
    offered: int = 0  # drafts that were judged, all sequences together: one after a refused draft is not
    accepted: int = 0
    cache_bytes: int = 0  # held at the end, MTP included
    origins: list[str] = field(default_factory=list)  # where each token of the first sequence came from
    drafted: list[int | None] = field(default_factory=list)  # and what the draft of it was, if there was one

    @property
    def acceptance(self) -> float:
        """Share of the judged drafts that stood; nan without drafts."""
        return self.accepted / self.offered if self.offered else float("nan")

    @property
    def tokens_per_pass(self) -> float:
        return self.tokens.shape[1] / self.passes

    def extend(self, tokens: Int[Tensor, "b fresh"], origins: list[str], drafted: list[int | None]) -> None:
        """What one more pass gave."""
        self.tokens = torch.cat([self.tokens, tokens.to(self.tokens.device)], dim=1)
        self.passes += 1
        self.origins += origins
        self.drafted += drafted


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
    verify: Verify | None = None,
    watch: Callable[[Generation], None] = lambda _: None,
) -> Generation:
    """Continue each prompt by `new_tokens`. `temperature` 0 takes the likeliest token, above 0 draws among the `top_p`.

    `speculate`: one draft per MTP depth, all checked in one pass; what comes out is what the model alone writes, token
    for token at temperature 0 and in distribution above it. Sequences of a batch go on together, as far as the one with
    the fewest accepted drafts. `verify` judges the drafts in place of `verify_greedy` (temperature 0) or
    `verify_sampled`; `watch` is shown the result so far after every pass.

    The model computes where it is: a prompt on another device is copied there, and the new tokens come back to the
    prompt's device.

    Raises:
        ValueError: an empty prompt, settings out of range, drafts without MTP modules or without a cache, a `verify`
            that keeps no token or too many, logits without a finite maximum (before a token is chosen from them).
    """
    if prompt.shape[1] < 1 or new_tokens < 1:
        raise ValueError(f"want a prompt and new tokens, got {prompt.shape[1]} and {new_tokens}")
    if not (temperature >= 0 and 0 < top_p <= 1):
        raise ValueError(f"want temperature >= 0 and 0 < top_p <= 1, got {temperature} and {top_p}")
    if speculate and not (len(model.mtp) and use_cache):
        raise ValueError("drafts come from MTP modules and need a cache: num_nextn_predict_layers >= 1, use_cache=True")
    result, prompt = Generation(prompt[:, :0]), prompt.to(place_of(model))
    choose = _Chooser(temperature, top_p, seed, prompt.device, verify)
    if speculate:
        passes = _speculative(model, prompt, new_tokens, choose, result)
    else:
        passes = _plain(model, prompt, new_tokens, model.new_cache() if use_cache else None, choose, result)
    for _ in passes:
        watch(result)
    return result


def _plain(
    model: MiniDeepSeek, prompt: Tensor, new_tokens: int, cache: Cache | None, choose: "_Chooser", result: Generation
) -> Iterator[None]:
    tokens = prompt
    for _ in range(new_tokens):
        logits = model(tokens if cache is None else tokens[:, cache.length :], cache)[:, -1]
        token = choose.token(choose.distribution(logits))
        tokens = torch.cat([tokens, token], dim=1)
        result.extend(token, [PLAIN], [None])
        result.cache_bytes = 0 if cache is None else cache.nbytes
        yield


def _speculative(
    model: MiniDeepSeek, prompt: Tensor, new_tokens: int, choose: "_Chooser", result: Generation
) -> Iterator[None]:
    cache, drafter = model.new_cache(), _Drafter(model)
    hidden = model.hidden_states(prompt, cache)
    first = choose.token(choose.distribution(model.head(model.norm(hidden[:, -1]))))
    tokens = torch.cat([prompt, first], dim=1)
    result.extend(first, [PLAIN], [None])
    result.cache_bytes = cache.nbytes
    yield
    while (left := new_tokens - result.tokens.shape[1]) > 0:
        drafts, draft_probs = drafter.draft(hidden, tokens, choose)
        hidden = model.hidden_states(torch.cat([tokens[:, -1:], drafts], dim=1), cache)
        outcomes = choose.judge(drafts, draft_probs, choose.distribution(model.head(model.norm(hidden))))
        kept = min(map(len, outcomes))
        hidden = hidden[:, :kept]
        cache.truncate(tokens.shape[1] + kept - 1)
        result.accepted += sum(len(outcome) - 1 for outcome in outcomes)
        result.offered += sum(min(len(outcome), drafts.shape[1]) for outcome in outcomes)
        result.cache_bytes = cache.nbytes + drafter.nbytes
        fresh = torch.stack([outcome[:kept] for outcome in outcomes])[:, :left]
        tokens = torch.cat([tokens, fresh], dim=1)
        own = FREE if len(outcomes[0]) > drafts.shape[1] else REPLACED
        origins = [ACCEPTED] * (len(outcomes[0]) - 1) + [own]
        drafted = [*drafts[0].tolist(), None]
        result.extend(fresh, origins[: fresh.shape[1]], drafted[: fresh.shape[1]])
        yield


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

    def __init__(self, temperature: float, top_p: float, seed: int, device: torch.device, verify: Verify | None):
        self.temperature, self.top_p = temperature, top_p
        self.verify: Verify = verify or (verify_sampled if temperature else verify_greedy)
        self.generator = torch.Generator(device).manual_seed(seed)

    def distribution(self, logits: Float[Tensor, "*b z"]) -> Float[Tensor, "*b z"]:
        if not logits.amax(-1).isfinite().all():  # NaN wins every maximum
            raise ValueError("the model gave logits without a finite maximum (NaN or infinity): check its weights")
        if self.temperature == 0:
            return logits  # only their order matters
        scaled = logits / self.temperature
        if not scaled.isfinite().all():  # so cold that it overflows; the same distribution, counted from the maximum
            coldest = torch.finfo(logits.dtype).tiny
            scaled = (logits - logits.amax(-1, keepdim=True)) / max(self.temperature, coldest)
        probs = scaled.softmax(-1)
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

    def judge(
        self, drafts: Int[Tensor, "b k"], draft_probs: Float[Tensor, "b k z"], target: Float[Tensor, "b rows z"]
    ) -> list[Int[Tensor, " accepted"]]:
        rows = [drafts, target]
        if self.temperature > 0:
            uniforms = torch.rand(target.shape[:2], generator=self.generator, device=target.device, dtype=torch.float64)
            rows = [drafts, draft_probs, target, uniforms]
        outcomes = [self.verify(*row) for row in zip(*rows, strict=True)]
        for kept in map(len, outcomes):
            if not 1 <= kept <= target.shape[1]:
                raise ValueError(
                    f"of a draft of {drafts.shape[1]} verify kept {kept} tokens, wanted 1 to {target.shape[1]}"
                )
        return outcomes
