"""Tensors to tensors; layers know no model."""
