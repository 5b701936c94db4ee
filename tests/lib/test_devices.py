"""Which device a job computes on."""

import sys

import pytest

from workflow.lib import devices


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine on which a driver is installed."""
    monkeypatch.setattr(devices.shutil, "which", lambda name: f"/usr/bin/{name}")
    return monkeypatch


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_method_that_uses_a_gpu_gets_one_where_there_is_one(
    driver: pytest.MonkeyPatch, available: bool, device: str
) -> None:
    driver.setattr("torch.cuda.is_available", lambda: available)
    assert devices.choose(wants_gpu=True) == device


@pytest.mark.parametrize("asked", ["auto", "cpu", "cuda"])
def test_a_method_that_uses_no_gpu_never_gets_one(driver: pytest.MonkeyPatch, asked: str) -> None:
    driver.setattr("torch.cuda.is_available", lambda: True)
    assert devices.choose(wants_gpu=False, asked=asked) == "cpu"


@pytest.mark.parametrize("asked", ["cpu", "cuda"])
def test_what_is_asked_for_counts(driver: pytest.MonkeyPatch, asked: str) -> None:
    assert devices.choose(wants_gpu=True, asked=asked) == asked


def test_without_a_driver_torch_is_not_even_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would raise ImportError
    assert devices.choose(wants_gpu=True) == "cpu"
