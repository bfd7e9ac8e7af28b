"""The speed of every stage, side by side with the common way and with what the machine can do at most."""
