"""The small task of training's tests, to be logged."""

from tests.training.conftest import task, write_run

__all__ = ["task", "write_run"]
