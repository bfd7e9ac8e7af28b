"""What does not fit is refused before the run's folder is there, whoever would have found it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ctrgate import train
from ctrgate.config import load
from ctrgate.errors import ConfigError


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": {"name": "final_mlp", "gate1_context": ["usr"]}},
            r"its lookup gate1 reads 'usr'.*did you mean user",
        ),
        ({"model": {"name": "final_net", "block1": {"activation": "swiglu"}}}, "swiglu gates the layers of a plain"),
        (
            {"objective": {"name": "click", "label_weights": {"clik": 2.0}}},
            r"objective\.label_weights names clik; the labels are click",
        ),
        ({"train": {"batch_size": 3}}, r"train\.batch_size: of 3 rows 2 workers would at times get fewer than two"),
    ],
)
def test_what_workers_would_find_is_refused_before_they_start_and_a_run_is_begun(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, sections: dict[str, object], message: str
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("workers were started")

    monkeypatch.setattr(train, "_on_workers", started)
    config = load(write_run(**sections), train.Config, ["train.workers=2"])
    with pytest.raises(ConfigError, match=message):
        train.run(config)
    assert not config.folder.path.exists()
