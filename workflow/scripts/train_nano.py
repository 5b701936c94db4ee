"""Trains and measures the embedded backbone: `python -m workflow.scripts.train_nano --out workflow/assets/nano`"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import open_clip
import torch

from workflow.lib.nano import quality, training


def main(arguments: list[str] | None = None) -> int:
    """Draws, trains, saves and reports; the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    recipe = training.Recipe(
        steps=options.steps,
        planes=options.planes,
        digits=options.digits,
        batch=options.batch,
        seed=options.seed,
    )
    _say(f"drawing {recipe.planes} images of each plane and {recipe.digits} of each digit")
    pool = training.load_or_render_pool(recipe, options.threads, options.pool)
    trainer = training.Trainer(training.new_model(options.out / "model.json", recipe.seed), pool, recipe)
    checkpoint = options.checkpoint or options.out / "training.pt"
    if options.resume and checkpoint.exists():
        trainer.load_state_dict(torch.load(checkpoint, weights_only=True))
        _say(f"resuming from step {trainer.step}")
    _train(trainer, checkpoint, options.every)
    training.save_weights(trainer.model, trainer.tokens, options.out / "model.safetensors")
    checkpoint.unlink(missing_ok=True)
    _say(f"wrote {options.out / 'model.safetensors'}; measured on the test splits:")
    for what, accuracy in quality.report(options.out).items():
        _say(f"{what}: {100 * accuracy:.2f} %")
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = training.Recipe()
    parser = argparse.ArgumentParser(prog="train_nano", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with model.json; the weights are written there")
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--planes", type=int, default=defaults.planes, help="drawings of each variant in the pool")
    parser.add_argument("--digits", type=int, default=defaults.digits, help="drawings of each digit in the pool")
    parser.add_argument("--every", type=int, default=500, help="steps between two checkpoints and measurements on val")
    parser.add_argument("--checkpoint", type=Path, help="where to keep it (default: training.pt beside the weights)")
    parser.add_argument("--pool", type=Path, help="a file to keep the drawings in, so that a resumed run needn't draw")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint if there is one")
    return parser


def _train(trainer: training.Trainer, checkpoint: Path, every: int) -> None:
    """Runs the trainer; every so many steps it saves a checkpoint and measures both zero-shot accuracies on val."""
    preprocess = open_clip.image_transform(64, is_train=False, mean=None, std=None, interpolation="bicubic")
    tokenizer = open_clip.SimpleTokenizer(context_length=trainer.model.context_length)
    monitor = quality.Monitor.build("val", preprocess, tokenizer, per_class=10)
    began, first, losses = time.monotonic(), trainer.step, []
    for loss in trainer.run():
        losses.append(loss)
        if trainer.step % every == 0 or trainer.step == trainer.recipe.steps:
            _save(trainer, checkpoint)
            plane_accuracy, digit_accuracy = monitor.measure(trainer.model)
            pace = (time.monotonic() - began) / (trainer.step - first)
            _say(
                f"step {trainer.step}: loss {sum(losses) / len(losses):.3f}, val planes {100 * plane_accuracy:.1f} %, "
                f"val digits {100 * digit_accuracy:.1f} %, scale {trainer.model.logit_scale.exp().item():.1f}, "
                f"{pace:.2f} s a step, {pace * (trainer.recipe.steps - trainer.step) / 60:.0f} min left"
            )
            losses.clear()


def _save(trainer: training.Trainer, checkpoint: Path) -> None:
    temporary = checkpoint.with_suffix(".tmp")
    torch.save(trainer.state_dict(), temporary)
    os.replace(temporary, checkpoint)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
