"""All networks: a new one adds its line to the union here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from ctrgate.models.auto_int import AutoIntConfig
from ctrgate.models.aw_moe import AWMoEConfig
from ctrgate.models.bst import BSTConfig
from ctrgate.models.dcn import DCNConfig
from ctrgate.models.dcn_v2 import DCNv2Config
from ctrgate.models.deep_fm import DeepFMConfig
from ctrgate.models.din import DINConfig
from ctrgate.models.dnn import DNNConfig
from ctrgate.models.dual_mlp import DualMLPConfig
from ctrgate.models.fibinet import FiBiNETConfig
from ctrgate.models.final_mlp import FinalMLPConfig
from ctrgate.models.final_net import FinalNetConfig
from ctrgate.models.fm import FMConfig
from ctrgate.models.gdcn import GDCNConfig
from ctrgate.models.gmlp import GMLPConfig
from ctrgate.models.gru4rec import GRU4RecConfig
from ctrgate.models.hgrn import HGRNConfig
from ctrgate.models.ipnn import IPNNConfig
from ctrgate.models.logistic_regression import LogisticRegressionConfig
from ctrgate.models.mamba4rec import Mamba4RecConfig
from ctrgate.models.mask_net import MaskNetConfig
from ctrgate.models.mixture_of_experts import MixtureOfExpertsConfig
from ctrgate.models.mmoe import MMoEConfig
from ctrgate.models.ple import PLEConfig
from ctrgate.models.ppnet import PPNetConfig
from ctrgate.models.sasrec import SASRecConfig
from ctrgate.models.sigma import SIGMAConfig

__all__ = ["ModelConfig"]

ModelConfig = Annotated[
    LogisticRegressionConfig
    | FMConfig
    | DNNConfig
    | DeepFMConfig
    | DCNConfig
    | DCNv2Config
    | GDCNConfig
    | DualMLPConfig
    | FinalMLPConfig
    | FinalNetConfig
    | MaskNetConfig
    | AutoIntConfig
    | FiBiNETConfig
    | IPNNConfig
    | GMLPConfig
    | MixtureOfExpertsConfig
    | MMoEConfig
    | PLEConfig
    | PPNetConfig
    | DINConfig
    | BSTConfig
    | AWMoEConfig
    | SASRecConfig
    | GRU4RecConfig
    | HGRNConfig
    | Mamba4RecConfig
    | SIGMAConfig,
    Discriminator("name"),
]
