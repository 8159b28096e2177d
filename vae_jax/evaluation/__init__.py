"""Scores of reconstructions and of composed music, and the baselines they are compared with."""
