"""AW-MoE: each event of a history votes for the experts that score the row."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Layout
from ctrgate.layers.behaviour_gate import BehaviourGate, contrast, drop_events
from ctrgate.layers.experts import SoftmaxGate
from ctrgate.models.blocks import MlpConfig, Widths
from ctrgate.models.experts import Experts, mix
from ctrgate.models.histories import Interests, MatchedSettings, history_groups
from ctrgate.models.inputs import History, Inputs, Request
from ctrgate.ranges import Count, NotNegative, Positive, Share


@settings
class BehavioursConfig:
    """A gate unit and an activation unit on each event (see ``BehaviourGate``), and the contrast in training."""

    name: Literal["behaviours"] = "behaviours"
    hidden: Widths = (80, 40)
    """Of the gate unit."""
    activation_hidden: Widths = (80, 40)
    """Of the activation unit."""
    normalisation: Literal["none", "softmax", "sigmoid"] = "none"
    """Of the factors over the experts."""
    scaled: bool = False
    """Whether the sum of votes is divided by the root of their number; else a long history has larger factors."""
    contrast: NotNegative = 0.05
    """Lambda, the contrastive term's weight; 0 switches it off."""
    temperature: Positive = 0.1
    """Of the contrastive term."""
    masked_share: Share = 0.2
    """The chance by which an event is left out of the masked history."""


@settings
class TargetConfig:
    """A softmax of what is shown alone, as MMoE's gates are: experts are chosen without a look at the history."""

    name: Literal["target"] = "target"
    hidden: tuple[Count, ...] = ()
    """Hidden layers of the gate."""


@settings
class AWMoEConfig(MatchedSettings):
    """``logit = sum_k g_k E_k(z)``, ``z = [x, u_1, u_2, ...]`` as in DIN (AW-MoE, ICDE 2023, arXiv 2306.05011).

    The full text was not at hand. The abstract says: behaviours enter the experts' input and the gate, which is made of
    a gate unit and an activation unit and gives the experts' factors by attention; histories are masked at random,
    which stands for users with few events, and a contrastive loss on what the gate gives is added. Our reading is
    everything else: DIN's input, MLPs as experts with a logit each, the units' inputs and the sum over events without a
    softmax, the learned gate of rows without events, and the form, negatives and defaults of the contrastive loss.
    """

    name: Literal["aw_moe"] = "aw_moe"
    num_experts: Count = 4
    """MLPs that each give a logit."""
    mlp: MlpConfig = MlpConfig(hidden=(512, 256), batch_norm=False)
    """Each expert."""
    gate: Annotated[BehavioursConfig | TargetConfig, Discriminator("name")] = BehavioursConfig()
    """What chooses experts."""
    history: str = ""
    """The sequence group that votes, or whose match chooses; may be left out where there is one."""
    attention_hidden: Widths = (80, 40)
    """Of the input's activation unit, as in DIN."""
    attention_activation: Literal["sigmoid", "relu", "gelu", "silu", "tanh"] = "sigmoid"
    """Of that unit's hidden layers."""
    attention_normalisation: Literal["none", "softmax", "scaled_softmax"] = "none"
    """Of its activation over a history, as DIN's ``normalisation``."""
    sequence_dropout: Share = 0.0
    """On each interest."""

    def embeddings(self, layout: Layout) -> tuple[Request, ...]:
        """One embedding per field, and each id member of each sequence group with the field it is matched with.

        Raises:
            ConfigError: Where no or several groups could vote, or no field matches a member.
        """
        requests = super().embeddings(layout)
        known = sorted({request.sequence for request in requests if isinstance(request, History)})
        if self.history not in known and (self.history or len(known) != 1):
            raise ConfigError(
                f"model.history: {self.history or 'not given'}; name one of the dataset's sequence groups of ids: "
                f"{', '.join(known) or 'there is none, and this network needs one'}"
            )
        return requests

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return AWMoE(self, inputs=inputs)


class AWMoE(nn.Module):
    """DIN's input, experts upon it, and their gate."""

    def __init__(self, config: AWMoEConfig, *, inputs: Inputs) -> None:
        super().__init__()
        groups = history_groups(inputs)
        (self._group,) = (group for group in groups if config.history in ("", group.name))
        self.interests = Interests(
            groups,
            flat_dim=inputs.flat_dim,
            hidden_dims=config.attention_hidden,
            activation=config.attention_activation,
            normalisation=config.attention_normalisation,
            dropout=config.sequence_dropout,
        )
        width = self.interests.out_dim
        self.experts = Experts(config.mlp.build(width, output_dim=inputs.num_labels) for _ in range(config.num_experts))
        self._config = config.gate
        self.gate: BehaviourGate | SoftmaxGate
        if isinstance(config.gate, TargetConfig):
            self.gate = SoftmaxGate(self._group.dim, config.num_experts, hidden_dims=config.gate.hidden)
        else:
            self.gate = BehaviourGate(
                self._group.dim,
                config.num_experts,
                hidden_dims=config.gate.hidden,
                activation_hidden_dims=config.gate.activation_hidden,
                normalisation=config.gate.normalisation,
                scaled=config.gate.scaled,
            )

    def forward(self, fields: Fields) -> Output:
        query, keys, mask = self._group.read(fields)
        terms = {}
        if isinstance(self.gate, SoftmaxGate):
            factors, _ = self.gate(query)
        elif self.training and isinstance(self._config, BehavioursConfig) and self._config.contrast:
            votes = self.gate.votes(query, keys)  # of both views: masking changes which are added, not what they are
            factors = self.gate.gather(votes, mask)
            masked = self.gate.gather(votes, drop_events(mask, share=self._config.masked_share))
            present, temperature = mask.any(dim=1), self._config.temperature
            term = contrast(factors, masked, present=present, groups=fields.groups, temperature=temperature)
            terms = {"contrast": self._config.contrast * term}
        else:
            factors, _ = self.gate(query, keys, mask)
        return Output(logits=mix(factors, self.experts(self.interests(fields))), aux=terms)
