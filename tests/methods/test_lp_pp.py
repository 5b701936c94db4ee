"""LP++: a linear probe with a learned share of the class texts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from methods import Support
from methods.lp_pp import Descent, LPPlusPlus, Probe, step_sizes
from tests.methods.conftest import Easy, cone


def start(easy: Easy, most: float = float("inf")) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """w, b and α before the first step, class by class, in float64."""
    x, y, text = easy.support.x.astype(float), easy.support.y, easy.task.class_text().astype(float)
    classes = range(len(text))
    sums = np.stack([sum(image for image, label in zip(x, y, strict=True) if label == k) for k in classes])
    own = np.mean([np.mean([image @ text[k] for image in x[y == k]]) for k in classes])
    return torch.tensor(sums), torch.zeros(len(text)).double(), torch.full((len(text),), min(250 * own, most)).double()


@pytest.mark.parametrize("recipe", ["ours", "paper"])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_autograd_does(counts: tuple[int, ...], recipe: str, easy_of: Callable[..., Easy]) -> None:
    """With s = 5 ours begins with α at 40 where the paper's is above it."""
    easy = easy_of(counts=counts, noise=1.5, text_noise=2.0, scale=5.0)
    x, text = torch.tensor(easy.support.x).double(), torch.tensor(easy.task.class_text()).double()
    y = torch.tensor(easy.support.y)
    leaves = [leaf.requires_grad_() for leaf in start(easy, 40.0 if recipe == "ours" else np.inf)]
    weight, bias, alpha = leaves
    rate = 4 * len(x) / np.linalg.eigvalsh((x.T @ x).numpy()).max()
    alpha_rate = len(x) / (4 * max(float((x @ one).square().sum()) for one in text))
    optimizer = torch.optim.SGD([weight, bias], lr=rate, momentum=0.9)

    def logits(queries: torch.Tensor) -> torch.Tensor:
        return queries @ weight.T + bias + alpha * (queries @ text.T)

    for iteration in range(1, 24):
        gradient = torch.autograd.grad(functional.cross_entropy(logits(x), y), leaves)
        weight.grad, bias.grad = gradient[:2]
        optimizer.step()
        if iteration % 10 == 0:
            alpha.data -= alpha_rate * gradient[2]
    found = easy.logits(LPPlusPlus, iterations=23, recipe=recipe)
    expected = logits(torch.tensor(easy.queries).double()).detach().numpy()
    assert found == pytest.approx(expected, abs=1e-3 * np.abs(expected).max())


def test_it_begins_at_the_class_sums_and_a_share_of_the_text(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(5, 1, 2))
    probe = Descent(easy.support, easy.task.class_text()).probe
    for found, expected in zip((probe.weight, probe.bias, probe.alpha), start(easy), strict=True):
        assert found == pytest.approx(expected.numpy(), rel=1e-4)


@pytest.mark.parametrize("counts", [(4, 4, 4), (5, 1, 2)])
def test_a_step_moves_each_part_against_its_own_gradient(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """By how much, part by part: α is large, and what it moves by is lost in the logits."""
    easy = easy_of(counts=counts, noise=1.5, text_noise=2.0, scale=5.0)
    x, text = torch.tensor(easy.support.x).double(), torch.tensor(easy.task.class_text()).double()
    leaves = [leaf.requires_grad_() for leaf in start(easy, 3.0)]
    logits = x @ leaves[0].T + leaves[1] + leaves[2] * (x @ text.T)
    gradient = torch.autograd.grad(functional.cross_entropy(logits, torch.tensor(easy.support.y)), leaves)
    descent = Descent(easy.support, easy.task.class_text(), 3.0)
    rate, alpha_rate = step_sizes(easy.support.x, easy.support.x @ easy.task.class_text().T)
    before, after = descent.probe, descent.step(True)
    for part, own, by in zip(("weight", "bias", "alpha"), gradient, (rate, rate, alpha_rate), strict=True):
        moved = getattr(after, part) - getattr(before, part)
        assert moved == pytest.approx(-by * own.numpy(), rel=1e-3, abs=1e-5)
        assert np.abs(moved).max() > 1e-2
    assert np.array_equal(Descent(easy.support, easy.task.class_text(), 3.0).step(False).alpha, before.alpha)


@pytest.mark.parametrize("images", [5, 40], ids=["fewer images than dimensions", "more"])
def test_its_step_sizes_are_those_of_the_definition(images: int) -> None:
    rng = np.random.default_rng(0)
    x, cosines = rng.normal(size=(images, 8)).astype(np.float32), rng.normal(size=(images, 3)).astype(np.float32)
    rate, alpha_rate = step_sizes(x, cosines)
    assert rate == pytest.approx(4 * images / np.linalg.norm(x, 2) ** 2, rel=1e-5)
    assert alpha_rate == pytest.approx(images / (4 * max((cosines[:, k] ** 2).sum() for k in range(3))), rel=1e-5)


def test_a_long_descent_ends_where_the_gradient_vanishes(easy_of: Callable[..., Easy]) -> None:
    """Two classes with a pair of equal images in both can't be separated, so that there is a minimum."""
    x = easy_of(counts=(2, 2)).support.x[[0, 1, 0, 2, 3, 0]]
    descent = Descent(Support(x, np.array([0, 0, 0, 1, 1, 1])), easy_of(counts=(2, 2)).task.class_text())
    first = np.abs(descent.gradient(descent.probe).T @ x).max()
    for iteration in range(1, 3001):
        descent.step(iteration % 10 == 0)
    assert np.abs(descent.gradient(descent.probe).T @ x).max() < 0.02 * first


def test_a_probe_without_weights_of_its_own_is_zero_shot(easy: Easy) -> None:
    text = easy.task.class_text()
    nothing = Probe(np.zeros_like(text), np.zeros(3, np.float32), np.full(3, 20, np.float32), text)
    assert nothing(easy.queries) == pytest.approx(easy.zero_shot, rel=1e-5)


def test_there_is_a_candidate_every_ten_iterations(easy: Easy) -> None:
    assert [point["iteration"] for point, _ in easy.points(LPPlusPlus, iterations=25)] == [10, 20, 25]


def test_it_stays_finite_with_large_steps_on_a_single_image_of_each_class(easy_of: Callable[..., Easy]) -> None:
    assert np.isfinite(easy_of(counts=[1] * 6, scale=100.0).logits(LPPlusPlus)).all()


def test_it_counts_weight_bias_and_alpha_as_learned(easy: Easy) -> None:
    assert LPPlusPlus().trainable(easy.task, LPPlusPlus.defaults({})) == 3 * 8 + 3 + 3


@pytest.mark.parametrize("recipe", ["ours", "paper"])
def test_ours_begins_with_alpha_at_eight_times_the_scale_at_the_most(recipe: str) -> None:
    easy = cone(1, classes=10)
    small = Easy(replace(easy.task, logit_scale=2.0), easy.queries, easy.labels)
    start_at_16 = Descent(small.support, small.task.class_text(), 16.0)
    assert start_at_16.probe.alpha == pytest.approx(np.full(10, 16.0))
    same = np.allclose(small.logits(LPPlusPlus, iterations=1, recipe=recipe), start_at_16.step(False)(small.queries))
    assert same is (recipe == "ours")


def test_where_the_scale_is_large_it_is_the_papers(easy: Easy) -> None:
    large = Easy(replace(easy.task, logit_scale=1000.0), easy.queries, easy.labels)
    assert np.array_equal(large.logits(LPPlusPlus), large.logits(LPPlusPlus, recipe="paper"))


def test_it_learns_where_the_text_misleads(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=3.0)
    assert easy.accuracy(LPPlusPlus) > (easy.zero_shot.argmax(1) == easy.labels).mean() + 0.1
