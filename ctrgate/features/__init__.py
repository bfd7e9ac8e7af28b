"""Raw tables to model-ready columns (Polars; no torch)."""
