"""Verbs in order: what a person or a scheduler calls."""
