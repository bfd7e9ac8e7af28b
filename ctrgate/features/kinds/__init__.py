"""The kinds of features, one to a file: what may be declared under ``features``, and all that follows from it."""
