"""Prompt ensembling: three ways to make one classifier of several prompts."""

from dataclasses import replace

import numpy as np
import pytest

from methods.prompt_ensemble import PromptEnsemble
from tests.methods.conftest import Easy


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row) / np.exp(row).sum()


@pytest.mark.parametrize("average", ["embeddings", "logits", "probabilities"])
def test_it_is_its_formula_prompt_by_prompt(easy: Easy, average: str) -> None:
    each, scale = easy.task.each_text().astype(float), easy.task.logit_scale
    expected = np.zeros_like(easy.zero_shot, float)
    for i, f in enumerate(easy.queries.astype(float)):
        prompts = [scale * np.array([f @ each[k, p] for k in range(3)]) for p in range(each.shape[1])]
        if average == "probabilities":
            expected[i] = np.log(sum(softmax(one) for one in prompts) / len(prompts))
        elif average == "logits":
            expected[i] = sum(prompts) / len(prompts)
        else:
            expected[i] = [scale * f @ mean / np.linalg.norm(mean) for mean in each.mean(1)]
    assert easy.logits(PromptEnsemble, average=average) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_average_of_embeddings_is_zero_shot_with_their_mean(easy: Easy) -> None:
    mean = easy.task.each_text().mean(1)
    text = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    expected = easy.task.logit_scale * easy.queries @ text.T
    assert easy.logits(PromptEnsemble, average="embeddings") == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_one_prompt_is_zero_shot_however_it_is_averaged(easy: Easy) -> None:
    one = Easy(replace(easy.task, text_each=easy.task.class_text()[:, None]), easy.queries, easy.labels)
    likely = easy.zero_shot - np.log(np.exp(easy.zero_shot.astype(float)).sum(1, keepdims=True))
    assert one.logits(PromptEnsemble, average="logits") == pytest.approx(easy.zero_shot, rel=1e-5, abs=1e-5)
    assert one.logits(PromptEnsemble, average="embeddings") == pytest.approx(easy.zero_shot, rel=1e-5, abs=1e-5)
    assert one.logits(PromptEnsemble, average="probabilities") == pytest.approx(likely, rel=1e-3, abs=1e-3)
