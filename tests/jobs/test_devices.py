"""Which device a job computes on, once it has a GPU or none."""

import sys
from pathlib import Path

import pytest

from tests.jobs import gpus
from workflow.lib.errors import UserError
from workflow.lib.jobs import devices, lease


@pytest.fixture
def log() -> list[str]:
    """The lines of a job's log."""
    return []


@pytest.fixture
def leased(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine on which every job gets GPU 1."""
    monkeypatch.setattr(lease, "take", lambda slots, log: "1")
    return monkeypatch


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_a_gpu_that_torch_can_use_is_used(leased: pytest.MonkeyPatch, asked: str, log: list[str]) -> None:
    leased.setattr("torch.cuda.is_available", lambda: True)
    assert devices.choose(asked, 1, log.append) == "cuda"
    assert log == []


def test_who_asks_for_the_cpu_leases_nothing(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    monkeypatch.delattr(lease, "take")
    assert devices.choose("cpu", 1, log.append) == "cpu"


def too_old() -> None:
    raise RuntimeError("The NVIDIA driver on your system\nis too old (found version 11040).")


def test_a_gpu_that_torch_can_t_use_is_said_to_be_so(leased: pytest.MonkeyPatch, log: list[str]) -> None:
    leased.setattr("torch.cuda.is_available", lambda: False)
    leased.setattr("torch.cuda.init", too_old)
    assert devices.choose("auto", 1, log.append) == "cpu"
    reason = "The NVIDIA driver on your system is too old (found version 11040)."
    assert log == [f"warning: torch can't use GPU 1 ({reason}): the CPU computes this"]


@pytest.mark.parametrize("gpu", ["1", None])
def test_a_gpu_that_is_asked_for_and_can_t_be_had_is_an_error(
    leased: pytest.MonkeyPatch, gpu: str | None, log: list[str]
) -> None:
    leased.setattr(lease, "take", lambda slots, log: gpu)
    leased.setattr("torch.cuda.is_available", lambda: False)
    leased.setattr("torch.cuda.init", too_old)
    with pytest.raises(UserError, match=r"cuda is asked for, but torch can't use a GPU here \(The NVIDIA driver"):
        devices.choose("cuda", 1, log.append)


def test_without_a_gpu_torch_is_not_even_imported(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    monkeypatch.setattr(lease, "devices", list)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would raise ImportError
    assert devices.choose("auto", 1, log.append) == "cpu"
    assert log == []


# --- what is said when a run starts ------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two GPUs, as nvidia-smi has it."""
    for name, value in gpus.environment(tmp_path, "GPU-a", "GPU-b").items():
        monkeypatch.setenv(name, value)
    for name in gpus.FORGET:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_gpus_are_announced_with_the_jobs_that_share_them(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(devices, "_tried", str)
    assert devices.announcement(1) == "2 GPUs here (GPU-a, GPU-b): 1 job at a time on each."
    machine.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert devices.announcement(3) == "1 GPU here (1): 3 jobs at a time on each."


def test_that_there_is_none_is_announced(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.announcement(1) == "No GPU here: every job computes on the CPU."


def test_gpus_that_torch_can_t_use_are_announced_with_the_reason(machine: pytest.MonkeyPatch) -> None:
    """These are none, so the real torch can't."""
    machine.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    line = devices.announcement(1)
    assert line.startswith("warning: 1 GPU here (GPU-a), but torch can't use them (")
    assert "(): every" not in line
    assert line.endswith(
        "CUDA_VISIBLE_DEVICES= in front of the command says that this is meant, and then no job waits for a GPU."
    )


def test_a_machine_whose_gpus_don_t_answer_is_announced(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpus.install(tmp_path / "bin", "exec sleep 60")
    machine.setattr(lease, "PATIENCE", 0.1)
    assert devices.announcement(1).startswith("warning: nvidia-smi has not answered")
