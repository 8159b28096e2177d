"""Representations: pairs of pure functions between a Score and arrays of a fixed shape."""
