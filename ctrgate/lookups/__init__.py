"""Ids to rows through TorchRec, for training."""
