"""Fixtures of the on-policy tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def training() -> ModuleType:
    """Give the builders of `training.py`, which is a script for other processes too."""
    spec = importlib.util.spec_from_file_location("online_training", Path(__file__).with_name("training.py"))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def teacher(small_model, tmp_path_factory) -> Path:
    """A folder with the small model, whose weights are disturbed, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, model = tmp_path_factory.mktemp("teacher"), AutoModelForCausalLM.from_pretrained(small_model)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=noise))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(small_model).save_pretrained(folder)
    return folder
