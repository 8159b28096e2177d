"""Scores of reconstructions and of composed music."""
