"""Encoded columns to batches."""
