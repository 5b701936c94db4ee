"""The frozen text tower from contexts to class texts: what is left out changes nothing, and unfit models say so."""

from typing import Any

import pytest
import torch
from open_clip.model import CustomTextCLIP

from tests.towers import models
from tests.towers.models import CAUSAL, KINDS, NAMES
from workflow.lib.errors import UserError
from workflow.lib.towers import text
from workflow.lib.towers.loading import unsupported
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

TEXTS = [f"{name}." for name in NAMES]


def encoder(kind: str, model: Any = None, **switches: bool) -> Encoder:
    return Encoder(Tower(model or models.model(kind), **switches), models.tokenizer(kind), NAMES, ["a photo of a {}."])


def answers(given: Encoder, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a few images by the unit class texts, and the gradient of their cross-entropy by the contexts."""
    context = context.clone().requires_grad_(True)
    texts = given.prompts(TEXTS, context.shape[-2])(context)
    images = torch.nn.functional.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    logits = 10 * images @ torch.nn.functional.normalize(texts, dim=-1).mT
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 1, 2, 3, 0] * len(context)))
    (gradient,) = torch.autograd.grad(loss, context)
    return logits.detach(), gradient


def contexts(learned: int, specific: bool, replicas: int = 2, width: int = 32) -> torch.Tensor:
    shape = (replicas, len(NAMES), learned, width) if specific else (replicas, learned, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("specific", [False, True])
@pytest.mark.parametrize("switches", [{}, {"share": False}, {"cut": False}], ids=["both", "cut", "neither"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_changes_neither_logits_nor_gradients(
    kind: str, switches: dict[str, bool], specific: bool
) -> None:
    """Against the tokenizer's whole text through the model's own transformer, one replica and one class at a time."""
    model = models.model(kind)
    given, context = encoder(kind, model, **switches), contexts(5, specific)
    found = answers(given, context)
    expected = plain(kind, model, context)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def plain(kind: str, model: Any, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by `encode_text`, whose embeddings of the words "X" are exchanged for the contexts."""
    context = context.clone().requires_grad_(True)
    learned = context.shape[-2]
    tokens = models.tokenizer(kind)([f"{'X ' * learned}{one}" for one in TEXTS])
    start = int(tokens[0, 0] == tokens[0].max() - 1)  # CLIP's start stands before its end, the largest
    each = context if context.dim() == 4 else context[:, None].expand(-1, len(TEXTS), -1, -1)
    embedding = getattr(model, "text", model).token_embedding
    sets = []
    for one in each:
        known = torch.nn.functional.embedding(tokens, embedding.weight)
        replaced = torch.cat([known[:, :start], one, known[:, start + learned :]], 1)
        hook = embedding.register_forward_hook(lambda *_, replaced=replaced: replaced)
        sets.append(model.encode_text(tokens))
        hook.remove()
    images = torch.nn.functional.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    logits = 10 * images @ torch.nn.functional.normalize(torch.stack(sets), dim=-1).mT
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 1, 2, 3, 0] * len(context)))
    (gradient,) = torch.autograd.grad(loss, context)
    return logits.detach(), gradient


@pytest.mark.parametrize("kind", KINDS)
def test_contexts_at_the_words_of_a_prompt_give_its_texts(kind: str) -> None:
    model = models.model(kind)
    given = encoder(kind, model)
    begin = given.embedded("a photo of a")
    assert begin.shape == (4, 32)
    expected = model.encode_text(models.tokenizer(kind)([f"a photo of a {one}" for one in TEXTS]))
    assert torch.allclose(given.prompts(TEXTS, 4)(begin[None])[0], expected, atol=1e-5)


@pytest.mark.parametrize("specific", [False, True])
@pytest.mark.parametrize("kind", ["openai", "siglip"])
def test_texts_in_slices_are_the_same_and_keep_less(kind: str, specific: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given, context = encoder(kind), contexts(3, specific)
    whole = answers(given, context)
    runs = []
    monkeypatch.setattr(text, "ACTIVATIONS", 1)
    monkeypatch.setattr(Tower, "_run", lambda *given, run=Tower._run: runs.append(1) or run(*given))
    sliced = answers(given, context)
    assert len(runs) == 2 * len(NAMES)  # each class once forwards, once for the gradient
    for one, other in zip(sliced, whole, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_savings_are_those_that_a_tower_allows() -> None:
    found = {kind: (tower := Tower(models.model(kind)))._cut + tower.shares for kind in KINDS}
    assert found == {
        "openai": 2,
        "custom": 2,
        "eos": 2,
        "coca": 2,
        "coca, its mask mended": 2,
        "odd blocks": 1,
        "siglip": 0,
        "first": 0,
    }
    assert [kind for kind in KINDS if found[kind]] == CAUSAL


def test_nothing_of_the_tower_is_trained() -> None:
    model = models.model("openai").train()
    Tower(model)
    assert not any(parameter.requires_grad for parameter in model.transformer.parameters())
    assert not model.training


@pytest.mark.parametrize("kind", ["openai", "siglip"])
def test_a_text_that_does_not_fit_is_named_with_what_would(kind: str) -> None:
    given = encoder(kind)
    given.prompts(["red panda."], 24 - {"openai": 5, "siglip": 3}[kind])
    with pytest.raises(UserError, match=r"^22 context vectors and 'red panda.', \d tokens, don't fit.*reads 24: allow"):
        given.prompts(["red panda."], 22)


def test_contexts_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="room for 3 context vectors, found 4"):
        encoder("openai").prompts(TEXTS, 3)(contexts(4, specific=False))


def test_towers_that_can_t_be_run_from_tokens_on_say_why() -> None:
    assert {unsupported(models.model(kind)) for kind in KINDS} == {""}
    for odd in ({"qk_norm": True}, {"no_causal_mask": True}):
        coca = CustomTextCLIP(16, models.VISION, {**models.TEXT, "embed_cls": True, **odd})
        assert unsupported(coca) == "it has a class token behind the text, as CoCa's, and other blocks or another mask"
    masked = CustomTextCLIP(16, models.VISION, {**models.FEW, "no_causal_mask": True})
    masked.text.use_pad_mask = True
    assert unsupported(masked) == "it masks padding"
    masked.text = torch.nn.Linear(2, 2)
    assert unsupported(masked) == "a Linear has no token_embedding of open_clip's kind"
