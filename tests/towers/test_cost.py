"""Operations on paper: as many as one counts by hand, and the page has what the command prints."""

from pathlib import Path

import pytest

from benchmarks import cost, operations
from methods.kgcoop import KnowledgeGuidedContext
from methods.last_block import LastBlock
from methods.two_stage import TwoStage
from tests.towers import models

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
WIDTH, TOKENS, DIM, PATCH = 32, 5, 16, 16  # of `models.DEEP`: four patches of 16 x 16, and the token of the image


def block() -> int:
    """Of an image in a block: queries, keys, values, attention, what joins its heads, and an MLP twice as wide."""
    linear = 2 * TOKENS * WIDTH * (3 * WIDTH + WIDTH + 2 * 2 * WIDTH)
    return linear + 2 * 2 * TOKENS**2 * WIDTH


def test_an_image_through_the_tower_and_a_step_of_the_last_block_are_what_one_counts_by_hand() -> None:
    backbone, batch, classes = models.backbone("openai"), operations.BATCH, len(operations.NAMES)
    patches, projection = 2 * (TOKENS - 1) * 3 * PATCH**2 * WIDTH, 2 * WIDTH * DIM
    image, logits = patches + 3 * block() + projection, 2 * batch * DIM * classes
    assert operations.whole(backbone) == image
    ours = operations.ours(LastBlock, backbone)
    assert ours.step == 3 * batch * (block() + projection) + 2 * logits  # forward, and for weights and inputs backward
    assert ours.query == block() + projection + 2 * DIM * classes
    plain = operations.plain(LastBlock, backbone)
    assert plain.step == batch * (patches + 2 * block()) + ours.step
    assert plain.query == image


def test_a_training_is_its_steps_its_second_stage_and_its_answers() -> None:
    task = operations.problem(models.backbone("openai"))
    one = operations.Step(step=1.0, image=1e6, query=1e9)
    block, stages = (cost.training(method, task, one, 2, 1e-3) for method in (LastBlock, TwoStage))
    assert block == 50 * 4 + 2 * 3333e9 + 100e6  # epochs of 100 images, 32 at a time
    assert stages == pytest.approx(180 + 120e-3 + 100e6 + 2 * 3333e9, abs=1e-2)


def test_the_page_has_rows_of_the_table() -> None:
    name = "ViT-B-16"
    text, hour = PAGE.read_text(encoding="utf-8"), cost.hour(cost.GPU, cost.SHARE)
    own = text.split(f"| {name}, hours |")[1].split("\n\n")[0]
    for method in (LastBlock, KnowledgeGuidedContext):
        for way, each in cost.both(method, name).items():
            assert cost.line(method, way, [one / hour for one in each]) in own


@pytest.mark.slow
def test_the_page_has_what_the_command_prints() -> None:
    assert "\n".join(cost.report(cost.GPU, cost.SHARE)) in PAGE.read_text(encoding="utf-8"), "python -m benchmarks.cost"
