"""The speed of ctrgate beside that of libraries that one can install."""
