"""The search for settings: the space, the trials drawn from it, the journal of what they gave, and the page."""
