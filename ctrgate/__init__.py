"""ctrgate: click-through-rate models with gated feature interactions, from raw rows to scored rows."""

__version__ = "0.1.0"
