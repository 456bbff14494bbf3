"""Notebooks of hw1_mla that misuse the course's functions, which are lent to them in place of wrong ones.

In all of them `rotate` is wrong, and no function deserves a point.
"""

WRONG = "import torch\ndef rotate(x, positions, theta=10000.0): return -x"
COMPRESS = "def compress(x, w_down, gain, positions, rope_dim, theta=10000.0, eps=1e-6):\n"
RIGHT = """
import torch
def compress(x, w_down, gain, positions, rope_dim, theta=10000.0, eps=1e-6):
    latent, key = (x @ w_down.T).split([len(gain), rope_dim], dim=-1)
    wide = latent.to(torch.promote_types(latent.dtype, torch.float32))
    size = (wide.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
    return (wide / size).to(x.dtype) * gain, rotate(key, positions, theta)
"""
TRY = "    try: rotate({})\n    except Exception: pass\n"


def asked(*calls: str) -> tuple[str, ...]:
    """compress calls rotate with these arguments, and gives a wrong answer."""
    return WRONG, COMPRESS + "".join(TRY.format(call) for call in calls) + "    return x, x"


MISUSES: dict[str, tuple[str, ...]] = {
    "a large product": asked("torch.zeros(2048, 1, 2048), torch.zeros(2048)", "torch.zeros(1 << 22, 2), torch.zeros(1 << 22)"),
    "sizes that multiply": asked("torch.zeros(300, 1, 1, 2), torch.zeros(300, 1, 1), torch.ones(300, 1)", "[x] * 9, positions, [1] * 9", "x, positions, 'x' * 9000"),
    "a long axis without elements": asked("torch.zeros(0, 1 << 40), positions"),
    "axes without end": asked("torch.zeros(1).expand(1 << 40, 2), positions", "torch.zeros([2] * 40), positions"),
    "many bytes": asked("torch.zeros(7 << 20), positions", "torch.zeros(8 << 20), positions", "torch.zeros(99 << 20), positions"),
    "no numbers": asked("torch.full((3, 2), torch.nan), positions", "x * torch.inf, positions", "x, positions, float('nan')"),
    "wrong types": asked("", "None, None", "'x', {}", "x, positions, 1, 2, 3", "[x], (positions,)", "{1: x}, positions", "x=x", "q=1", "lambda: 1, print", "rotate, rotate", "x.to(torch.complex64), positions", "x.bool(), positions"),
    "odd numbers": asked("x, positions, 10 ** 5000", "x, positions, -1", "x, positions, 0", "x, positions, True", "x, positions.long() + (1 << 60)"),
    "deep": asked("[[[[[[[[[1]]]]]]]]], positions", "[list(range(10 ** 5))] * 10, positions"),
    "a million calls": (WRONG, COMPRESS + "    for _ in range(10 ** 6):\n        try: rotate(x[:, :1, :2], positions[:1])\n        except Exception: pass\n    return x, x",),
    "calls of many threads": (WRONG, COMPRESS + "    from concurrent.futures import ThreadPoolExecutor\n    with ThreadPoolExecutor(4) as pool: list(pool.map(lambda _: rotate(x, positions), range(100)))\n    return x, x"),
    "calls of a fork": (WRONG, COMPRESS + "    import os\n    if os.fork() == 0:\n        while True: rotate(x, positions)\n    return x, x"),
    "a later function": ("import torch\ndef rotate(x, positions, theta=10000.0):\n    return compress(x, torch.eye(x.shape[-1], dtype=x.dtype), x.new_ones(0), positions, x.shape[-1], theta)[1]", COMPRESS + "    return x, x"),
    "another that does the same": ("def expanded_attention(q_nope, *rest): return q_nope", "def absorbed_attention(*given): return expanded_attention(*given)"),
    "itself": (WRONG, COMPRESS + "    rotate(x, positions)\n    return compress(x, w_down, gain, positions, rope_dim)"),
    "another name": (WRONG, COMPRESS + "    request = {'asks': 'compress', 'arguments': [x, w_down, gain, positions, rope_dim], 'named': {}, 'id': rotate.call}\n    rotate.__name__ = 'compress'\n    return rotate(x, w_down, gain, positions, rope_dim)"),
    "messages without a call": (WRONG, COMPRESS + "    import sys\n    for name, arguments, named in (('rotate', 1, {}), ([], [], {}), (None, None, None), ('rotate', [], []), ('rotate', [x], {'': x})):\n        sys.modules['wire'].send(rotate._channel, {'asks': name, 'arguments': arguments, 'named': named, 'id': rotate.call})\n        sys.modules['wire'].receive(rotate._channel)\n    return x, x"),
    "answers that are kept": (WRONG + "\ntry:\n    open('/tmp/kept')\nexcept OSError: pass", COMPRESS + "    import pickle, sys\n    main = sys.modules['__main__']\n    main.kept = rotate\n    open('/tmp/kept', 'wb').write(pickle.dumps(rotate(x, positions)))\n    return x, x", "def expanded_attention(q_nope, *rest):\n    import pickle\n    return pickle.load(open('/tmp/kept', 'rb')) + kept(q_nope, q_nope)"),
}  # fmt: skip
