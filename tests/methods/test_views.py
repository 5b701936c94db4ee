"""The methods that take augmented views of the labelled images in place of the images."""

from collections.abc import Callable
from dataclasses import replace
from math import exp, log2

import numpy as np
import pytest
import torch

from methods import Method, Support, unit
from methods.ape import AdaptivePriorRefinement as Ape
from methods.ape import kept
from methods.clap import Clap
from methods.gda import ONE_IMAGE, GaussianDiscriminant
from methods.proker import ProximalKernel
from methods.tip_adapter import TipAdapter
from methods.tip_adapter_f import TipAdapterF
from tests.methods.by_hand import cosine, descend
from tests.methods.conftest import Easy

METHODS = [TipAdapter, TipAdapterF, Ape, GaussianDiscriminant, ProximalKernel, Clap]


def with_views(easy: Easy, count: int = 3) -> Easy:
    """The same problem, with unit views scattered around each image that were of lengths from 1 to 5."""
    rng = np.random.default_rng(2)
    supports = {}
    for seed, support in easy.task.supports.items():
        scattered = support.x[:, None] + 0.2 * rng.normal(size=(len(support.y), count, support.x.shape[1]))
        lengths = rng.uniform(1, 5, size=(len(support.y), count)).astype(np.float32)
        supports[seed] = replace(support, views=unit(scattered).astype(np.float32), view_lengths=lengths)
    return replace(easy, task=replace(easy.task, supports=supports))


@pytest.fixture
def viewed(easy: Easy) -> Easy:
    """Three classes, four shots, three views of each image."""
    return with_views(easy)


def means(support: Support) -> list[np.ndarray]:
    """The unit mean of each image's views at their own length, view by view."""
    found = []
    for views, lengths in zip(support.views, support.view_lengths, strict=True):
        total = np.zeros(len(views[0]))
        for view, length in zip(views, lengths, strict=True):
            total += length * view
        found.append(total / np.sqrt((total**2).sum()))
    return found


# --- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_views_are_needed_where_they_are_asked_for(method: type[Method]) -> None:
    params = method.defaults({})
    assert params["views"] is False
    assert method().needs(params) == {"image", "text"}
    assert method().needs(params | {"views": True}) == {"image", "text", "views"}


@pytest.mark.parametrize("method", METHODS)
def test_views_that_are_not_asked_for_change_nothing(method: type[Method], easy: Easy, viewed: Easy) -> None:
    assert np.array_equal(viewed.logits(method), easy.logits(method))
    assert not np.allclose(viewed.logits(method, views=True), easy.logits(method))


@pytest.mark.parametrize("method", METHODS)
def test_a_view_that_is_the_image_is_the_image(method: type[Method], easy: Easy) -> None:
    support = easy.support
    same = {0: replace(support, views=support.x[:, None])}
    found = replace(easy, task=replace(easy.task, supports=same)).logits(method, views=True)
    assert found == pytest.approx(easy.logits(method), rel=1e-3, abs=1e-3)


def test_a_support_with_views_gives_their_means_or_all_of_them(viewed: Easy) -> None:
    support = viewed.support
    assert support.mean_of_views().x == pytest.approx(np.array(means(support)), abs=1e-6)
    assert np.array_equal(support.mean_of_views().y, support.y)
    every = support.every_view()
    assert (every.x.shape, every.x.dtype) == ((36, 8), np.float32)
    for row, (view, label) in enumerate(zip(every.x, every.y, strict=True)):
        assert np.array_equal(view, support.views[row // 3, row % 3])
        assert label == support.y[row // 3]


@pytest.mark.parametrize("ask", [Support.mean_of_views, Support.every_view])
def test_a_method_that_did_not_declare_its_need_is_told_so(ask: Callable[[Support], Support], easy: Easy) -> None:
    with pytest.raises(ValueError, match="the method must name `views` in its needs"):
        ask(easy.support)


# --- the formulas ----------------------------------------------------------------------------------------------------


def test_tip_adapter_reads_a_cache_of_mean_views(viewed: Easy) -> None:
    logits = viewed.logits(TipAdapter, alpha=1.5, beta=3.0, views=True)
    for query, row in zip(viewed.queries, logits, strict=True):
        expected = [viewed.task.logit_scale * float(query @ text) for text in viewed.task.class_text()]
        for key, label in zip(means(viewed.support), viewed.support.y, strict=True):
            expected[label] += 1.5 * exp(-3.0 * (1 - float(query @ key)))
        assert row == pytest.approx(expected, rel=1e-5)


def test_tip_adapter_f_starts_from_mean_views_and_trains_on_images(viewed: Easy) -> None:
    x, y, text = map(torch.from_numpy, (viewed.support.x, viewed.support.y, viewed.task.class_text()))
    keys = torch.tensor(np.array(means(viewed.support)), dtype=torch.float32, requires_grad=True)

    def logits(queries: torch.Tensor) -> torch.Tensor:
        votes = torch.zeros(len(queries), 3)
        for key, label in zip(keys, y, strict=True):
            votes[:, label] += 2.0 * torch.exp(-3.0 * (1 - queries @ key))
        return viewed.task.logit_scale * queries @ text.T + votes

    optimizer = torch.optim.AdamW([keys], lr=0.01, eps=1e-4, weight_decay=0.1)
    descend(optimizer, cosine(0.01, 5), logits, x, y)
    settings = {"lr": 0.01, "weight_decay": 0.1, "epochs": 5, "batch_size": 0}
    found = viewed.logits(TipAdapterF, alpha=2.0, beta=3.0, views=True, **settings)
    assert found == pytest.approx(logits(torch.from_numpy(viewed.queries)).detach().numpy(), abs=2e-3)


def test_ape_takes_mean_views_for_channels_cache_and_divergence(viewed: Easy) -> None:
    text, labels = viewed.task.class_text(), viewed.support.y
    images = np.array(means(viewed.support), dtype=np.float32)
    channels = kept(Support(images, labels), text, {"w0": 0.5, "w1": 0.5, "channels": 0.5})
    logits = viewed.logits(Ape, alpha=1.5, beta=3.0, gamma=0.2, channels=0.5, views=True)
    for query, row in zip(viewed.queries, logits, strict=True):
        expected = [viewed.task.logit_scale * float(query @ one) for one in text]
        for image, label in zip(images, labels, strict=True):
            cosines = [float(unit(image[channels]) @ unit(one[channels])) for one in text]
            own = np.exp(cosines[label]) / np.exp(cosines).sum()
            surprise = log2((1 + 1e-6) / (own + 1e-6))
            affinity = float(unit(query[channels]) @ unit(image[channels]))
            expected[label] += 1.5 * exp(-3.0 * (1 - affinity)) * exp(0.2 * surprise)
        assert row == pytest.approx(expected, rel=1e-4)


def test_gda_takes_every_view_as_a_sample(viewed: Easy) -> None:
    """NumPy's own covariance and pseudo-inverse, and a loop over images and their views."""
    samples = [
        (unit(view.astype(float)), label)
        for views, label in zip(viewed.support.views, viewed.support.y, strict=True)
        for view in views
    ]
    centres = [np.mean([x for x, label in samples if label == k], axis=0) for k in range(3)]
    cov = np.cov(np.stack([x - centres[label] for x, label in samples]).T)
    precision = 8 * np.linalg.pinv((len(samples) - 1) * cov + np.trace(cov) * np.eye(8))
    expected = viewed.zero_shot.astype(float)
    for k, centre in enumerate(centres):
        bias = np.log(1 / 3) - centre @ precision @ centre / 2
        expected[:, k] += 0.7 * (viewed.queries @ precision @ centre + bias)
    found = viewed.logits(GaussianDiscriminant, alpha=0.7, views=True, recipe="paper")
    assert found == pytest.approx(expected, rel=1e-4)


def test_proker_takes_every_view_as_a_sample(viewed: Easy) -> None:
    """The definition, with kernels one by one and the inverse of `k(F, F) / λ + I`."""
    samples = [
        (unit(view.astype(float)), label)
        for views, label in zip(viewed.support.views, viewed.support.y, strict=True)
        for view in views
    ]
    text = viewed.task.class_text().astype(float)
    left = np.stack([np.eye(3)[label] - x @ text.T for x, label in samples])
    gram = np.array([[exp(-2.0 * (1 - a @ b)) for b, _ in samples] for a, _ in samples])
    coefficients = np.linalg.inv(gram / 0.1 + np.eye(len(samples))) @ left
    reads = np.array([[exp(-2.0 * (1 - float(query @ x))) for x, _ in samples] for query in viewed.queries])
    found = viewed.logits(ProximalKernel, views=True, **{"beta": 2.0, "lambda": 0.1})
    assert found == pytest.approx(viewed.queries @ text.T + reads @ coefficients, abs=1e-4)


def test_clap_trains_on_every_view_and_is_held_by_all_of_them(viewed: Easy) -> None:
    """As with each view as an image of its own."""
    views = viewed.support.views
    flat = Support(unit(views.reshape(-1, 8)), np.repeat(viewed.support.y, views.shape[1]))
    apart = replace(viewed, task=replace(viewed.task, supports={0: flat}))
    expected = apart.logits(Clap, epochs=5)
    assert viewed.logits(Clap, epochs=5, views=True) == pytest.approx(expected, abs=1e-4)
    assert viewed.logits(Clap, epochs=5) != pytest.approx(expected, abs=1e-2)


def test_with_views_gda_has_a_covariance_from_one_image_of_each_class(easy_of: Callable[..., Easy]) -> None:
    one = with_views(easy_of(counts=(1, 1, 1)))
    assert np.array_equal(one.logits(GaussianDiscriminant), one.zero_shot)
    assert one.notes(GaussianDiscriminant) == [ONE_IMAGE]
    assert not np.allclose(one.logits(GaussianDiscriminant, views=True), one.zero_shot)
