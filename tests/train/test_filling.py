"""What accelerate fills the last batches up with does not count, also after a resume.

Its own loader for each of several processes, made in this one; no process is started.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from accelerate.state import GradientState, PartialState
from torch.utils.data import DataLoader

from ragkit.train.base import MeanTrainer

PROCESSES = 3


@pytest.fixture(autouse=True)
def _accelerate() -> None:
    PartialState(cpu=True)


def batches(length: int, size: int, process: int, skipped: int) -> list[dict[str, Any]]:
    """The batches of one process as its trainer would see them."""
    rows = list(range(length))
    loader = prepare_data_loader(
        DataLoader(rows, size, collate_fn=lambda part: {"rows": part, "count": len(part)}),  # type: ignore[arg-type]
        num_processes=PROCESSES,
        process_index=process,
        put_on_device=False,
        even_batches=True,
    )
    if skipped:
        loader = skip_first_batches(loader, skipped)
    trainer = SimpleNamespace(
        args=SimpleNamespace(
            world_size=PROCESSES, process_index=process, dataloader_drop_last=False
        ),
        accelerator=SimpleNamespace(gradient_state=GradientState()),
        train_dataset=rows,
        _train_batch_size=size,
    )
    return [MeanTrainer._without_filling(trainer, batch) for batch in loader]  # type: ignore[arg-type]


@pytest.mark.parametrize("skipped", [0, 1])
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("length", [7, 12, 13, 17, 18, 24])
def test_every_question_counts_once(length: int, size: int, skipped: int) -> None:
    seen = [batches(length, size, process, skipped) for process in range(PROCESSES)]
    assert len({len(part) for part in seen}) == 1, "every process takes part in every step"
    assert all(batch["rows"] for part in seen for batch in part)
    counted = Counter(
        row for part in seen for batch in part for row in batch["rows"][: batch["count"]]
    )
    assert counted == Counter(range(skipped * size * PROCESSES, length))
