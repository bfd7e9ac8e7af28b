"""Arrays in, floats with intervals out."""
