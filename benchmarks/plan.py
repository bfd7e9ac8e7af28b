"""What TorchRec's planner would do with a terabyte of clicks on 8 and on 64 GPUs; nothing is built, no GPU needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ctrgate.contracts import Lookup, TableSpec
from ctrgate.lookups.kinds import EXACT_KINDS, ShardingKind
from ctrgate.lookups.sharded import on_paper

__all__ = ["CRITEO_1TB", "main"]

CRITEO_1TB = (
    *(40_000_000, 39_060, 17_295, 7_424, 20_265, 3, 7_122, 1_543, 63, 40_000_000, 3_067_956, 405_282, 10),
    *(2_209, 11_938, 155, 4, 976, 14, 40_000_000, 40_000_000, 40_000_000, 590_152, 12_973, 108, 36),
)
"""Rows of the 26 tables with which MLPerf trains on Criteo's terabyte (DLRM-DCNv2; the largest cut at 40 million)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.plan [--gpus 8 64] [--dim 128] [--memory-gb 80] [--batch-size 8192]``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__)
    parser.add_argument("--gpus", nargs="+", type=int, default=[8, 64])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--memory-gb", type=float, default=80.0)
    parser.add_argument("--batch-size", type=int, default=8192, help="rows per GPU")
    parser.add_argument("--kinds", nargs="+", default=list(EXACT_KINDS))
    parsed = parser.parse_args(arguments)
    sys.stdout.write("\n".join(report(parsed.gpus, parsed.kinds, parsed)) + "\n")
    return 0


def report(gpus: Sequence[int], kinds: Sequence[ShardingKind], parsed: argparse.Namespace) -> list[str]:
    """A table for each number of GPUs: how tables are spread, and the memory of a rank."""
    tables = [
        TableSpec(name=f"field {number}", num_rows=rows, dim=parsed.dim, rule="fused", init_std=0.0)
        for number, rows in enumerate(CRITEO_1TB)
    ]
    lookups = [Lookup(name=spec.name, column=spec.name, table=spec.name) for spec in tables]
    lines = []
    for count in gpus:
        placed = on_paper(
            tables,
            lookups,
            num_workers=count,
            kinds=kinds,
            memory_bytes=int(parsed.memory_gb * 2**30),
            batch_size=parsed.batch_size,
        )
        held = [0] * count
        for shard in placed:
            held[shard.rank] += shard.num_rows * (shard.num_columns + 1) * 4  # the optimizer keeps one number per row
        lines += [f"{count} GPUs: {min(held) / 2**30:.1f} to {max(held) / 2**30:.1f} GB of tables on a rank", ""]
        lines += ["| table | rows | GB | spread | ranks |", "|---|---|---|---|---|"]
        for spec in sorted(tables, key=lambda spec: -spec.num_rows)[:9]:
            of = [shard for shard in placed if shard.table == spec.name]
            ranks = sorted({shard.rank for shard in of})
            shown = f"{len(ranks)} of {count}" if len(ranks) > 4 else ", ".join(map(str, ranks))
            size = spec.num_rows * (spec.dim + 1) * 4 / 2**30
            lines.append(f"| {spec.name} | {spec.num_rows:,} | {size:.2f} | {of[0].kind} | {shown} |")
        lines.append("")
    return lines


if __name__ == "__main__":
    sys.exit(main())
