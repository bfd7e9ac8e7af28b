"""One day's raw rows against what a dataset's rows are known to look like."""
