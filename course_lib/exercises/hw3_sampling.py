"""hw3_mtp, drafted tokens verified so that the target's distribution is kept (arXiv:2211.17192 section 2.3)."""

import torch
from torch import Tensor

from course_lib.exercises.drawing import Draw
from course_lib.exercises.engine import Case


def verify_sampled(draft: Tensor, draft_probs: Tensor, target_probs: Tensor, uniforms: Tensor) -> Tensor:
    kept, weights = len(draft), target_probs[-1]
    for j, token in enumerate(draft):
        p, q = target_probs[j], draft_probs[j]
        if uniforms[j] * q[token] >= p[token]:  # refused
            kept, weights = j, (p - q).clamp(min=0)
            break
    cdf = weights.cumsum(0) / weights.sum()
    return torch.cat([draft[:kept], (cdf > uniforms[-1]).nonzero()[0]])


# By hand, so that every mistake shows, whatever the seed. A line for each drafted token: the token, one of a to e; u in
# 64ths; q and p in 32nds, so that no sum is rounded. The last line is the one after the draft.
TABLES = {
    "stands, stands, refused, would stand": """
        e 15 |  3  6  6 16  1 |  2  7  3  2 18
        b  9 |  1  7  3  8 13 |  3  2  2 20  5
        e 25 | 10  8  1  1 12 |  7  3  7 12  3
        e 19 |  2  1 20  7  2 | 10  4 12  2  4
        - 21 |                | 15  3 11  1  2
    """,
    "refused at once: no chance in the target, and u = 0": """
        b  0 | 13 11  2  3  3 |  7  0  9  5 11
        c 59 | 10  3  3  9  7 |  5  5 15  2  5
        - 23 |                |  3  1  2 13 13
    """,
    "all stand": """
        d 37 |  5  9 14  3  1 |  6  9  9  7  1
        e  9 |  4  2  3 11 12 | 10  2  8  9  3
        d 57 |  2 10  7  8  5 |  4  5  6 10  7
        - 43 |                | 17  1  8  5  1
    """,
    "nothing drafted": """
        - 11 |                |  6  9  2  4 11
    """,
    "u q = p is refused": """
        c 32 |  2  3 16  7  4 |  5  4  8  8  7
        -  5 |                |  3  4 14  2  9
    """,
    "the last is refused, and u = 0 draws": """
        b 55 |  1  5  9 12  5 |  6 18  6  1  1
        e 17 |  9  3  3  5 12 |  1  1 12 14  4
        a 23 |  9  3  1  3 16 |  2  5 17  3  5
        -  0 |                |  4  6  9  8  5
    """,
    "a draw from the upper end": """
        a 33 | 11  1  1 18  1 |  3 10 12  1  6
        - 49 |                |  4  6  6  5 11
    """,
    "u draws right at a step of the CDF": """
        d 27 |  1  3  2 19  7 |  8  5  3 11  5
        - 22 |                |  7  4  9  4  8
    """,
    "u draws right at a step of the residual's": """
        a 37 | 15  3 10  3  1 |  7  5  2 14  4
        e  5 |  7  1 15  4  5 |  3 12  2 14  1
        -  8 |                |  2  2  4  5 19
    """,
}
LETTERS, Z = "abcde", 9


def sampling_cases(seed: int) -> list[Case]:
    """The seed says which of the nine tokens are a to e, in this order; the others have no chance."""
    draw = Draw(seed)
    return [spread(table, draw.order(Z)[: len(LETTERS)].sort().values) for table in TABLES.values()]


def spread(table: str, tokens: Tensor) -> Case:
    lines = [line.split("|") for line in table.strip().splitlines()]
    names, uniforms = zip(*(start.split() for start, _, _ in lines), strict=True)

    def probs(rows: list[str]) -> Tensor:
        counts = torch.tensor([[int(count) for count in row.split()] for row in rows]).view(len(rows), len(LETTERS))
        return torch.zeros(len(rows), Z, dtype=torch.float64).index_copy(1, tokens, counts.double() / 32)

    return {
        "draft": tokens[[LETTERS.index(name) for name in names[:-1]]],
        "draft_probs": probs([q for _, q, _ in lines[:-1]]),
        "target_probs": probs([p for _, _, p in lines]),
        "uniforms": torch.tensor([int(u) for u in uniforms], dtype=torch.float64) / 64,
    }
