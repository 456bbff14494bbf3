"""hw3_mtp, what an MTP module reads: a hidden state and an embedding (arXiv:2412.19437 section 2.2, eq. 21)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case, Exercise, Misconception, Section
from course_lib.exercises.hw1_compress import normed


def mtp_input(
    hidden: Tensor, embedding: Tensor, gain_h: Tensor, gain_e: Tensor, proj: Tensor, eps: float = 1e-6
) -> Tensor:
    joined = torch.cat([normed(hidden, eps) * gain_h, normed(embedding, eps) * gain_e], dim=-1)
    return joined @ proj.mT


def input_cases(seed: int) -> list[Case]:
    """A hidden state is much larger than an embedding, which is why each has a norm; eps is large enough to show."""
    x = Draw(seed).normal
    return [
        {
            "hidden": 3 * x(b, s, d) + 0.8, "embedding": 0.4 * x(b, s, d) - 0.2,
            "gain_h": 1 + 0.5 * x(d), "gain_e": 1 + 0.5 * x(d), "proj": x(d, 2 * d), "eps": eps,
        }
        for b, s, d, eps in ((2, 5, 7, 0.5), (3, 4, 6, 0.1))
    ]  # fmt: skip


@dataclass
class Parts:
    """What the module reads, so that each mistake reads as one line."""

    hidden: Tensor
    embedding: Tensor
    gain_h: Tensor
    gain_e: Tensor
    proj: Tensor
    eps: float

    @property
    def h(self) -> Tensor:
        return normed(self.hidden, self.eps) * self.gain_h

    @property
    def e(self) -> Tensor:
        return normed(self.embedding, self.eps) * self.gain_e

    @property
    def gains(self) -> Tensor:
        return torch.cat([self.gain_h, self.gain_e])

    def out(self, *joined: Tensor) -> Tensor:
        return torch.cat(joined, dim=-1) @ self.proj.mT

    def each(self, norm: Callable[[Tensor], Tensor]) -> Tensor:
        """Another norm for both."""
        return self.out(norm(self.hidden) * self.gain_h, norm(self.embedding) * self.gain_e)


def fed(make: Callable[[Parts], Tensor]) -> Callable[..., Tensor]:
    """A wrong input, from what it makes of the parts."""

    def wrong(hidden: Tensor, embedding: Tensor, gain_h: Tensor, gain_e: Tensor, proj: Tensor, eps: float) -> Tensor:
        return make(Parts(hidden, embedding, gain_h, gain_e, proj, eps))

    return wrong


def many(message: str, *makers: Callable[[Parts], Tensor]) -> list[Misconception]:
    return [Misconception(message, fed(make)) for make in makers]


def root(x: Tensor, over: tuple[int, ...] = (-1,)) -> Tensor:
    return x.square().mean(over, keepdim=True).sqrt()


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


MTP_INPUT = Exercise(
    name="mtp_input",
    points=3,
    lesson=Section("05_mtp", "One module"),
    reference=mtp_input,
    cases=input_cases,
    axes="b s d",
    mistakes=[
        *many(
            "This matches the embedding first, as some released weights store it: the report puts the hidden state "
            "first, and so does this exercise.",
            lambda p: p.out(p.e, p.h),
            lambda p: p.out(normed(p.embedding, p.eps) * p.gain_h, normed(p.hidden, p.eps) * p.gain_e),
            lambda p: p.out(normed(p.embedding, p.eps), normed(p.hidden, p.eps)),
        ),
        *many(
            "This matches one norm over both: each is divided by its own root mean square before they are joined.",
            lambda p: p.out(normed(torch.cat([p.hidden, p.embedding], -1), p.eps) * p.gains),
            lambda p: p.out(normed(torch.cat([p.hidden, p.embedding], -1), p.eps)),
            lambda p: p.out(normed(torch.cat([p.embedding, p.hidden], -1), p.eps) * p.gains),
            lambda p: p.out(normed(torch.cat([p.embedding, p.hidden], -1), p.eps) * p.gains.roll(len(p.gain_h))),
        ),
        *many(
            "This matches a norm over both after their own: what is joined goes right into the projection.",
            lambda p: p.out(normed(torch.cat([p.h, p.e], -1), p.eps)),
        ),
        *many(
            "This matches no norms: a hidden state is much larger than an embedding, so norm each by itself.",
            lambda p: p.out(p.hidden, p.embedding),
            lambda p: p.out(p.hidden * p.gain_h, p.embedding * p.gain_e),
            lambda p: p.out(p.embedding, p.hidden),
            lambda p: p.out(p.embedding * p.gain_e, p.hidden * p.gain_h),
        ),
        *many(
            "This matches an embedding that is not normed: both have a norm, each with a gain of its own.",
            lambda p: p.out(p.h, p.embedding),
            lambda p: p.out(p.h, p.embedding * p.gain_e),
        ),
        *many(
            "This matches a hidden state that is not normed: both have a norm, each with a gain of its own.",
            lambda p: p.out(p.hidden, p.e),
            lambda p: p.out(p.hidden * p.gain_h, p.e),
        ),
        *many(
            "This matches the gains exchanged: gain_h belongs to the hidden state, gain_e to the embedding.",
            lambda p: p.out(normed(p.hidden, p.eps) * p.gain_e, normed(p.embedding, p.eps) * p.gain_h),
        ),
        *many(
            "This matches one gain for both: gain_h belongs to the hidden state, gain_e to the embedding.",
            lambda p: p.out(p.h, normed(p.embedding, p.eps) * p.gain_h),
            lambda p: p.out(normed(p.hidden, p.eps) * p.gain_e, p.e),
        ),
        *many(
            "This matches norms without their gains: multiply by them after dividing by the root mean square.",
            lambda p: p.out(normed(p.hidden, p.eps), normed(p.embedding, p.eps)),
        ),
        *many(
            "This matches a gain left out: both norms have one.",
            lambda p: p.out(p.h, normed(p.embedding, p.eps)),
            lambda p: p.out(normed(p.hidden, p.eps), p.e),
        ),
        *many(
            "This matches gains applied before the norm: divide by the root mean square first, then apply the gain.",
            lambda p: p.out(normed(p.hidden * p.gain_h, p.eps), normed(p.embedding * p.gain_e, p.eps)),
        ),
        *many(
            "This matches 1 + gain, as some models store it: multiply by the gain as it is.",
            lambda p: p.out(p.h + normed(p.hidden, p.eps), p.e + normed(p.embedding, p.eps)),
        ),
        *many(
            "This matches a layer norm: no mean is subtracted, each is only divided by its root mean square.",
            lambda p: p.each(lambda x: normed(centred(x), p.eps)),
            lambda p: p.each(lambda x: normed(centred(x), 1e-5)),
            lambda p: p.each(lambda x: normed(centred(x), 0.0)),
        ),
        *many(
            "This matches dividing by the standard deviation. The root mean square does not subtract the mean.",
            lambda p: p.each(lambda x: x * torch.rsqrt(x.var(-1, correction=0, keepdim=True) + p.eps)),
            lambda p: p.each(lambda x: x * torch.rsqrt(x.var(-1, keepdim=True) + p.eps)),
            lambda p: p.each(lambda x: x / (x.std(-1, keepdim=True) + p.eps)),
        ),
        *many(
            "This matches eps added to the root: it is added to the mean square, under the root.",
            lambda p: p.each(lambda x: x / (root(x) + p.eps)),
        ),
        *many(
            "This matches a norm without the eps that was given: it is added to the mean square, under the root.",
            lambda p: p.each(lambda x: normed(x, 0.0)),
            lambda p: p.each(lambda x: normed(x, 1e-6)),
            lambda p: p.each(lambda x: normed(x, 1e-5)),
            lambda p: p.each(lambda x: normed(x, 1e-8)),
        ),
        *many(
            "This matches the sum of squares under the root: a root mean square takes their mean, the sum over d.",
            lambda p: p.each(lambda x: x * torch.rsqrt(x.square().sum(-1, keepdim=True) + p.eps)),
            lambda p: p.each(lambda x: x * torch.rsqrt(x.square().sum(-1, keepdim=True))),
            lambda p: p.each(lambda x: x / (x.norm(dim=-1, keepdim=True) + p.eps)),
        ),
        *many(
            "This matches a division by the mean square: divide by its root.",
            lambda p: p.each(lambda x: x / (x.square().mean(-1, keepdim=True) + p.eps)),
        ),
        *many(
            "This matches a norm over other axes: each position has a root mean square of its own, over its d numbers.",
            *(
                lambda p, over=over: p.each(lambda x: x / (root(x, over).square() + p.eps).sqrt())
                for over in ((0, 1, 2), (1, 2), (1,), (0,), (0, 1))
            ),
        ),
        *many(
            "This matches a norm after the projection: each part has its norm before they are joined.",
            lambda p: normed(p.out(p.hidden, p.embedding), p.eps),
            lambda p: normed(p.out(p.hidden, p.embedding), p.eps) * p.gain_h,
            lambda p: normed(p.out(p.hidden, p.embedding), p.eps) * p.gain_e,
        ),
        *many(
            "This matches `proj` read as 2d by d, row after row: it is d by 2d, so use its transpose.",
            lambda p: torch.cat([p.h, p.e], -1) @ p.proj.reshape(-1, len(p.gain_h)),
        ),
        *many(
            "This matches numbers of both in turns: all of the hidden state come first, then all of the embedding.",
            lambda p: p.out(torch.stack([p.h, p.e], -1).flatten(-2)),
        ),
        *many(
            "This matches the two added: they are joined to 2d numbers, and each half of `proj` reads its own.",
            lambda p: (p.h + p.e) @ p.proj[:, : len(p.gain_h)].mT,
            lambda p: (p.h + p.e) @ p.proj[:, len(p.gain_h) :].mT,
            lambda p: (p.h + p.e) @ p.proj,
            lambda p: p.out(p.h + p.e, p.h + p.e),
            lambda p: p.h + p.e,
        ),
        *many(
            "This matches a join along the positions: join the d numbers of each, so that 2d stand at each position.",
            lambda p: torch.cat([p.h, p.e], 1) @ p.proj,
            lambda p: torch.cat([p.h, p.e], -2) @ p.proj[:, : len(p.gain_h)].mT,
        ),
        *many(
            "This matches the embedding left out: without it the module does not know the token in between.",
            lambda p: p.h @ p.proj[:, : len(p.gain_h)].mT,
            lambda p: p.out(p.h, p.h),
        ),
        *many(
            "This matches the hidden state left out: it carries all that came before.",
            lambda p: p.e @ p.proj[:, len(p.gain_h) :].mT,
            lambda p: p.out(p.e, p.e),
        ),
        *many(
            "This matches the hidden state added to the output: the report has no residual here.",
            lambda p: p.out(p.h, p.e) + p.hidden,
            lambda p: p.out(p.h, p.e) + p.h,
        ),
        *many(
            "This matches what is joined, not yet projected: multiply by `proj` to come back to d numbers.",
            lambda p: torch.cat([p.h, p.e], -1),
        ),
    ],
)
