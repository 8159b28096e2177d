"""Scores of reconstructions and of composed music, and the baselines they are compared with."""

from typing import Any

Metrics = dict[str, Any]  # Nested scores, as metrics.json holds them.
