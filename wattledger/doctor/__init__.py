"""Checks of a live installation from the inside; each failure says what to do."""
