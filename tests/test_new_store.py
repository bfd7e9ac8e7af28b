"""A store that is killed while its tables are made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ctrgate.new_store import make_whole
from ctrgate.tracking import TrackingConfig, connect


def test_a_kill_while_tables_are_made_leaves_no_store_and_the_next_call_makes_it(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "mlflow.db"

    def killed(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_whole(place, killed)
    assert list(place.parent.iterdir()) == []
    code = (
        "import os, signal; from pathlib import Path; from ctrgate.new_store import make_whole\n"
        "def half(uri):\n"
        "    Path(uri.removeprefix('sqlite:///')).write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"make_whole(Path({str(place)!r}), half)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert not place.exists()
    client = connect(TrackingConfig(uri=f"sqlite:///{place}"))
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert place.exists()


def test_a_store_that_another_process_has_made_meanwhile_stays(tmp_path: Path) -> None:
    place = tmp_path / "mlflow.db"

    def late(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_text("mine")
        place.write_text("theirs")

    make_whole(place, late)
    assert place.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["mlflow.db"]
