"""Parts of the scoring job: what is scored, in which units, by which processes, and the folder that keeps it."""
