"""CLIP-LoRA: low-rank products beside the queries, keys and values of both towers."""

from collections.abc import Mapping
from typing import Any

from methods import Facts, Method, Param, Params, Replica, Task, hookimpl
from methods.contract import adapted
from methods.contract.adaptation import Adaptable, Adaptation, LowRank


class LowRankAdaptation(adapted.AdaptedMethod):
    """`s f t^T` with `W + (a / √r) B A` in place of each W of the queries, keys and values in both towers' blocks.

    A `(r, W)` begins Kaiming-uniform and B `(W, r)` at 0, which is zero-shot with that prompt. While it learns, a
    quarter of the numbers before A are dropped. With `blocks` what stands below the last blocks is computed once for
    each image, without crops; with `encoder: text` all of the image tower is, and a ResNet will do.
    """

    name = "clip_lora"
    paper = "arXiv:2405.18541"
    departs = (
        "half precision, for which `precision: bf16` is near; a crop from the image as it was before it was made the"
        " model's size, for which `crop: 0.08`"
        " and `flip` are near; a prompt of each dataset's own"
    )
    random_per_class = True  # what is dropped
    facts = Facts(
        year=2024,
        formula="s f t^T, with W + (a / √r) B A in place of each W of queries, keys and values",
        training="AdamW, 500 steps for each shot, through both towers",
        learned="12 * L * (W + Dp)",
        fit="E * N * (K * G / 32 + 2 * I)",
        memory="270 * L * K * W + 37632 * N",
        use="Where the classes have names that say something, and there is a GPU or a small tower.",
        fails="With few shots it moves little from zero-shot: half a point on `planes` with `nano` and one shot. With"
        " many classes a step through the text tower is slow.",
        passes=160,
    )
    params = {
        "rank": Param(2, "rank r of B A", low=1),
        "alpha": Param(1.0, "a of the factor a / √r", above=0),
        "dropout": Param(0.25, "share of the numbers before A that a step drops", low=0, high=0.9),
        "blocks": Param(0, "so many of the last blocks of each tower; 0 takes all", low=0, high=99),
        **adapted.parameters(500),
    }

    def last_blocks(self, params: Params) -> int:
        return int(params["blocks"])

    def of_tower(self, nn: Any, tower: Adaptable, params: Params) -> Mapping[str, Any]:
        import torch

        depth, rank, width = min(tower.depth, params["blocks"] or tower.depth), params["rank"], tower.width
        down = torch.empty(depth, 3, rank, width)
        nn.init.kaiming_uniform_(down.view(-1, width), a=5**0.5)
        return {"down": nn.Parameter(down), "up": nn.Parameter(torch.zeros(depth, 3, width, rank))}

    def parts(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        params = replica.params
        scale = params["alpha"] / params["rank"] ** 0.5
        return {**super().parts(nn, task, replica), "dropout": nn.Dropout(params["dropout"]), "scale": scale}

    def adaptation(self, head: Any, side: str) -> Adaptation:
        down, up = (getattr(head, f"{side}_{name}") for name in ("down", "up"))
        return Adaptation(low_rank=LowRank(down, up, head.scale, head.dropout))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [LowRankAdaptation]
