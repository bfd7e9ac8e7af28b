"""Parts of train: objective, loop, optimizers, checkpoint."""
