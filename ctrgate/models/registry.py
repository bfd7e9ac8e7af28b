"""All networks: a new one adds its line to the union here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from ctrgate.models.dnn import DNNConfig
from ctrgate.models.dual_mlp import DualMLPConfig
from ctrgate.models.final_mlp import FinalMLPConfig
from ctrgate.models.logistic_regression import LogisticRegressionConfig

__all__ = ["ModelConfig"]

ModelConfig = Annotated[
    LogisticRegressionConfig | DNNConfig | DualMLPConfig | FinalMLPConfig,
    Discriminator("name"),
]
