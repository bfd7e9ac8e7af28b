"""The common way to train and score, written out: pandas, one ``nn.Embedding`` per field, dense Adam, fp32.

Each part is as one writes it who knows pandas and torch and does not look for speed, but without what would only be
slow: rows are one tensor in memory, and batches are cut from it by index, where a ``DataLoader`` would collate rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn

from benchmarks.speed.place import Place
from benchmarks.speed.plain_rows import PlainEncoder
from benchmarks.speed.size import BATCH, CATEGORIES, CONTEXTS, DIM, GATE_HIDDEN, HEADS, HIDDEN, NUMBERS, TURN_ROWS
from benchmarks.speed.turns import Turn

__all__ = ["PlainFinalMLP", "plain_evaluate", "plain_read", "plain_score", "plain_train"]


class _Gate(nn.Module):
    """FinalMLP's feature gate as its authors' code has it: without context, one vector is repeated for each row."""

    def __init__(self, context: tuple[str, ...], width: int, vocabularies: dict[str, int]) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({name: nn.Embedding(vocabularies[name], DIM) for name in context})
        self.empty = None if context else nn.Parameter(torch.zeros(1, DIM))
        self.layers = nn.Sequential(
            nn.Linear(DIM * max(1, len(context)), GATE_HIDDEN), nn.ReLU(), nn.Linear(GATE_HIDDEN, width), nn.Sigmoid()
        )

    def forward(self, flat: Tensor, ids: Tensor) -> Tensor:
        if self.empty is not None:
            context = self.empty.repeat(flat.size(0), 1)
        else:
            found = [embedding(ids[:, CATEGORIES.index(name)]) for name, embedding in self.embeddings.items()]
            context = torch.cat(found, dim=1)
        result: Tensor = flat * self.layers(context) * 2
        return result


class PlainFinalMLP(nn.Module):
    """FinalMLP (Mao et al., AAAI 2023), one embedding per field, one linear layer per number."""

    def __init__(self, vocabularies: dict[str, int], gates: str) -> None:
        super().__init__()
        self.numbers = nn.ModuleList(nn.Linear(1, DIM, bias=False) for _ in NUMBERS)
        self.embeddings = nn.ModuleList(nn.Embedding(vocabularies[name], DIM) for name in CATEGORIES)
        for weight in self.embeddings.parameters():
            nn.init.normal_(weight, std=0.01)
        width = DIM * (len(NUMBERS) + len(CATEGORIES))
        self.gates = nn.ModuleList(_Gate(context, width, vocabularies) for context in CONTEXTS[gates])
        self.streams = nn.ModuleList(_mlp(width) for _ in range(2))
        self.linears = nn.ModuleList(nn.Linear(HIDDEN[-1], 1) for _ in range(2))
        self.bilinear = nn.Parameter(torch.empty(HEADS, HIDDEN[-1] // HEADS, HIDDEN[-1] // HEADS))
        nn.init.xavier_normal_(self.bilinear)

    def forward(self, numbers: Tensor, ids: Tensor) -> Tensor:
        parts = [linear(numbers[:, [place]]) for place, linear in enumerate(self.numbers)]
        parts += [embedding(ids[:, place]) for place, embedding in enumerate(self.embeddings)]
        flat = torch.cat(parts, dim=1)
        first, second = (mlp(gate(flat, ids)) for gate, mlp in zip(self.gates, self.streams, strict=True))
        linear = self.linears[0](first) + self.linears[1](second)
        heads = (part.view(-1, HEADS, HIDDEN[-1] // HEADS) for part in (first, second))
        result: Tensor = linear + torch.einsum("bhi,hij,bhj->b", next(heads), self.bilinear, next(heads)).unsqueeze(1)
        return result


def _mlp(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for hidden in HIDDEN:
        layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers)


def _encoded(place: Place) -> tuple[Tensor, Tensor, Tensor]:
    """The turn's rows as numbers, ids and labels."""
    rows = pd.read_parquet(place.turn)
    numbers = torch.from_numpy(rows[list(NUMBERS)].to_numpy(dtype=np.float32, copy=True))
    ids = torch.from_numpy(rows[list(CATEGORIES)].to_numpy(dtype=np.int64, copy=True))
    return numbers, ids, torch.from_numpy(rows[["label:label"]].to_numpy(dtype=np.float32, copy=True))


def _network(place: Place) -> PlainFinalMLP:
    torch.manual_seed(0)
    return PlainFinalMLP({name: place.layout.tables[name] for name in CATEGORIES}, place.gates)


def plain_read(place: Place) -> Turn:
    """Encoded Parquet to shuffled batches."""

    def turn() -> int:
        numbers, ids, labels = _encoded(place)
        return sum(len(labels[rows]) + 0 * len(numbers[rows]) + 0 * len(ids[rows]) for rows in _order(len(labels)))

    return turn


def _order(num_rows: int) -> tuple[Tensor, ...]:
    return torch.split(torch.randperm(num_rows), BATCH)


def plain_train(place: Place) -> Turn:
    """Steps of training on rows in memory."""
    numbers, ids, labels = _encoded(place)
    network = _network(place)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss_of = nn.BCEWithLogitsLoss()

    def turn() -> int:
        network.train()
        loss = torch.zeros(())
        for rows in _order(TURN_ROWS):
            optimizer.zero_grad()
            loss = loss_of(network(numbers[rows], ids[rows]), labels[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
        assert torch.isfinite(loss)
        return TURN_ROWS

    return turn


@torch.no_grad()
def _predicted(network: PlainFinalMLP, numbers: Tensor, ids: Tensor) -> np.ndarray:
    network.eval()
    parts = [network(*part) for part in zip(torch.split(numbers, BATCH), torch.split(ids, BATCH), strict=True)]
    return torch.sigmoid(torch.cat(parts)).squeeze(1).numpy().astype(np.float64)


def plain_evaluate(place: Place) -> Turn:
    """AUC and log loss of encoded rows."""
    numbers, ids, labels = _encoded(place)
    network, clicked = _network(place), labels.squeeze(1).numpy()

    def turn() -> int:
        predicted = _predicted(network, numbers, ids)
        roc_auc_score(clicked, predicted), log_loss(clicked, predicted)
        return len(predicted)

    return turn


def plain_score(place: Place) -> Turn:
    """Raw Parquet to Parquet with scores."""
    files = sorted(place.raw.glob("*.parquet"))
    encoder = PlainEncoder(pd.concat([pd.read_parquet(path) for path in files]))
    torch.manual_seed(0)
    sizes = {name: len(values) + 2 for name, values in encoder.vocabularies.items()}
    network = PlainFinalMLP(sizes, place.gates)

    def turn() -> int:
        done = 0
        for path in sorted(place.raw_to_score.glob("*.parquet")):
            rows = encoder.encode(pd.read_parquet(path))
            numbers = torch.from_numpy(rows[list(NUMBERS)].to_numpy(dtype=np.float32, copy=True))
            ids = torch.from_numpy(rows[list(CATEGORIES)].to_numpy(dtype=np.int64, copy=True))
            scores = pd.DataFrame({"score": _predicted(network, numbers, ids)})
            scores.to_parquet(place.folder / "plain-scores.parquet")
            done += len(scores)
        return done

    return turn
