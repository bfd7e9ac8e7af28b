"""What is measured: one command, one table."""
