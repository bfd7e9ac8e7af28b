"""How cost grows with rows, with fields, and with the length of histories."""
