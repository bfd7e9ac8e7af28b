"""The exported bundle: write, read, verify, look rows up."""
