"""Ids to rows through TorchRec and FBGEMM, for training."""
