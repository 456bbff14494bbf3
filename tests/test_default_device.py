"""With CUDA as PyTorch's default device everything gives what it gives without: nothing relies on where tensors are
made by default. Without a GPU the device is that of tests/virtual_cuda.py."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from course_lib import all_to_all, boxed, checkpoint, corpus, precision, scaling
from course_lib.cache import LayerCache
from course_lib.config import RopeScaling
from course_lib.corpus import Corpus
from course_lib.exercises import BANK
from course_lib.generation import generate
from course_lib.mla import MLA
from course_lib.model import MiniDeepSeek
from course_lib.rope import Rotary, frequencies, rotate
from course_lib.speculative import verify_greedy, verify_sampled
from course_lib.training import Recipe, Training, held_out_loss
from course_lib.widgets.balance import BalanceLab
from course_lib.widgets.mtp import DraftExplorer
from course_lib.widgets.routing import RoutingExplorer
from tests.conftest import YARN, tiny_mla, tiny_moe
from tests.devices import cuda, why_no_virtual_device
from tests.typecheck import shape_checks

ROOT = Path(__file__).parents[1]


@pytest.fixture
def default_cuda() -> Iterator[None]:
    with cuda():
        torch.set_default_device("cuda")
        try:
            yield
        finally:
            torch.set_default_device(None)


@pytest.fixture(scope="module")
def text() -> Corpus:
    return corpus.load("stories", 40_000)


def cpu_model(**changes: Any) -> MiniDeepSeek:
    with torch.device("cpu"):
        torch.manual_seed(2)
        config = tiny_moe(vocab_size=256, num_nextn_predict_layers=1, initializer_range=0.2, **changes)
        return MiniDeepSeek(config).double().eval()


def on_the_cpu(make: Callable[[], Any]) -> Any:
    """What `make` gives where the CPU is the default device."""
    with torch.device("cpu"):
        return make()


def test_it_works_with_the_pinned_pytorch() -> None:
    """With another version its tests are skipped with a reason, which must not happen unnoticed."""
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    if torch.__version__.split("+")[0] == pinned[1]:
        assert why_no_virtual_device() is None


def test_texts_and_batches(default_cuda: None, text: Corpus) -> None:
    loaded = corpus.load("stories", 40_000)
    assert torch.equal(loaded.training, text.training) and loaded.training.device.type == "cpu"
    batch, expected = loaded.batch(3, 4, 9), on_the_cpu(lambda: text.batch(3, 4, 9))
    assert batch.device.type == "cpu" and torch.equal(batch, expected)
    assert torch.equal(loaded.batch(3, 4, 9, device="cuda").cpu(), expected)
    assert torch.equal(loaded.windows(3, 9, device="cuda").cpu(), loaded.windows(3, 9))
    assert corpus.encode("né").device.type == "cuda" and corpus.decode(corpus.encode("né")) == "né"


@pytest.mark.parametrize("settings", [{}, {"speculate": True}, {"temperature": 0.8, "top_p": 0.9}])
def test_generation(default_cuda: None, settings: dict[str, Any]) -> None:
    """A model on the CPU, such as one that was loaded, and one that was made on the default device."""
    model, made = cpu_model(), MiniDeepSeek(cpu_model().config).double().eval()
    assert made.head.weight.device.type == "cuda"
    made.load_state_dict(model.state_dict())
    expected = on_the_cpu(lambda: generate(model, corpus.encode("né")[None], 6, **settings).tokens)
    texts = [generate(each, corpus.encode("né")[None], 6, **settings).tokens for each in (model, made)]
    assert all(tokens.device.type == "cuda" for tokens in texts) and torch.equal(texts[0].cpu(), expected)
    if not settings.get("temperature"):  # the streams of two devices differ
        assert torch.equal(texts[1].cpu(), expected)
    drafted = generate(boxed.load(), corpus.encode("To be")[None], 4, speculate=True)
    assert corpus.decode(drafted.tokens[0]).isascii()


def test_verification(default_cuda: None) -> None:
    probs, u = torch.tensor([[0.2, 0.8], [0.6, 0.4]]), torch.tensor([0.1, 0.9])
    for place in ("cpu", "cuda"):
        draft, rows, uniforms = torch.tensor([1], device=place), probs.to(place), u.to(place)
        assert verify_greedy(draft, rows).tolist() == [1, 0]
        assert verify_sampled(draft, rows[:1], rows, uniforms).tolist() == [1, 1]


def test_rotation_and_caches(default_cuda: None) -> None:
    llama = RopeScaling(
        rope_type="llama3", factor=8.0, original_max_position_embeddings=64, low_freq_factor=1.0, high_freq_factor=4.0
    )
    for stretch in (None, YARN, llama):
        assert torch.equal(frequencies(6, 500.0, stretch), on_the_cpu(lambda s=stretch: frequencies(6, 500.0, s)))
    with torch.device("cpu"):
        config = tiny_mla(rope_scaling=YARN)
        layer, x = MLA(config).double(), torch.randn(2, 9, config.hidden_size, dtype=torch.float64)
        expected = layer(x)
    for place in ("cpu", "cuda"):
        layer, x, cache = layer.to(place), x.to(place), LayerCache()
        got = torch.cat([layer(part, cache) for part in x.split([4, 1, 4], dim=1)], dim=1)
        torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-12)
        turned = rotate(x[:, :, None, :6], Rotary(config).turns(3, 9, like=x))
        assert turned.device.type == place


@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_training_evaluation_and_resuming(default_cuda: None, text: Corpus, tmp_path: Path, place: str) -> None:
    def begin() -> Training:
        recipe = Recipe(steps=4, batch_size=2, length=9, bias_speed=0.01, sequence_alpha=0.1)
        return Training(cpu_model().train().to(place), text, recipe)

    def results(run: Training) -> list[float]:
        list(run.run())
        evaluation = run.evaluate(sequences=3)
        assert {each.device.type for each in (evaluation.load, run.history.load, run.history.bias)} == {"cpu"}
        return [*run.history.loss, evaluation.loss, evaluation.max_violation, held_out_loss(run.model, text, 900)]

    halting, resumed, expected = begin(), begin(), on_the_cpu(lambda: results(begin()))
    list(halting.run(2))
    checkpoint.save(halting, tmp_path / "run")
    checkpoint.resume(resumed, tmp_path / "run")
    assert results(resumed) == pytest.approx(expected, rel=1e-9)
    checkpoint.save_model(resumed.model, tmp_path)
    loaded, trained = checkpoint.load_model(tmp_path), resumed.model.cpu().float()
    assert all(torch.equal(one, other) for one, other in zip(loaded.parameters(), trained.parameters(), strict=True))


def test_fits(default_cuda: None) -> None:
    x = [10.0 ** (17 + i / 3) for i in range(9)]
    y = [0.3 * value**0.5 * (1 + 0.05 * (-1) ** i) for i, value in enumerate(x)]
    sizes, texts = [1e8 * 2**i for i in range(4) for _ in range(4)], [1e9 * 3**i for _ in range(4) for i in range(4)]
    losses = [1.7 + 400 / n**0.34 + 410 / d**0.28 for n, d in zip(sizes, texts, strict=True)]

    def everything() -> list[Any]:
        line, law = scaling.fit_power_law(x, y, resamples=20), scaling.fit_parametric(sizes, texts, losses, resamples=3)
        budgets = [budget for budget in (1e18, 1e19, 1e20) for _ in range(5)]
        params = [(budget / 1e10) ** 0.9 * 2.0**j for budget in (1e18, 1e19, 1e20) for j in range(-2, 3)]
        curves = [3 + 0.1 * j**2 for _ in range(3) for j in range(-2, 3)]
        optima = scaling.isoflop_optima(budgets, params, curves)
        numbers = [line.exponent, line.coefficient, line.at(1e21), law.a, law.E, law.allocation(1e20).params]
        numbers += [optima.law().exponent, optima.optima[0].params]
        return [repr(each) for each in numbers]

    assert everything() == on_the_cpu(everything)
    on_the_device = scaling.fit_power_law(x, y, device="cuda")
    assert on_the_device.residuals.device.type == "cuda"
    assert on_the_device.exponent.value == pytest.approx(scaling.fit_power_law(x, y, device="cpu").exponent.value)


@pytest.mark.parametrize("assignment", BANK)
def test_exercises(default_cuda: None, assignment: str) -> None:
    for exercise in BANK[assignment].values():
        assert exercise.grade(exercise.reference).solved, exercise.name


def test_what_lessons_compute(default_cuda: None) -> None:
    x, w = torch.randn(5, 256), torch.randn(7, 256)
    for dtype in (torch.float8_e4m3fn, torch.int8):
        a, b = (precision.quantize(each, (1, 128), dtype) for each in (x, w))
        there, here = (
            precision.product(a, b),
            precision.product(*(precision.quantize(y.cpu(), (1, 128), dtype) for y in (x, w))),
        )
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), here, rtol=1e-5, atol=1e-4)
        assert precision.relative_error(there, x @ w.mT) == pytest.approx(
            precision.relative_error(here, (x @ w.mT).cpu())
        )
    indices = torch.rand(9, 16).topk(4).indices
    assert torch.equal(all_to_all.nodes_visited(indices, 16, 4).cpu(), all_to_all.nodes_visited(indices.cpu(), 16, 4))


def test_the_draft_explorer_writes_in_its_thread(device: str) -> None:
    """A model on the device; pressing the button computes in another thread."""
    explorer = DraftExplorer(cpu_model().to(device), prompt="ab", new_tokens=5)
    first = explorer.writing.tokens
    explorer.prompt.value = "abc"
    explorer.button.click()
    explorer.thread.join(60)
    assert len(first) == len(explorer.writing.tokens) == 5 and "It is the same text" in explorer.status.value
    expected = generate(explorer.model, corpus.encode("abc", device=device)[None], 5, speculate=True).tokens[0].tolist()
    assert explorer.writing.tokens == expected


def test_the_routing_explorer_takes_tensors_of_the_device(device: str) -> None:
    hidden, centroids = torch.randn(3, 8).double(), torch.randn(16, 8).double()
    here, there = (
        RoutingExplorer(list("abc"), hidden, centroids),
        RoutingExplorer(list("abc"), hidden.to(device), centroids.to(device)),
    )
    assert there.picture.value == here.picture.value


def test_the_balance_lab_trains_on_the_device(device: str) -> None:
    settings: dict[str, Any] = {"experts": 4, "steps": 2, "device": device}
    with shape_checks(False):
        lab = BalanceLab(**settings)
        lab.run()
    assert len(lab.history.steps) == 2 and lab.history.load.device.type == "cpu"
    assert {each.device.type for each in lab.training.model.parameters()} == {device}  # pyright: ignore
