"""Cross-validation: one config that describes a run for each fold."""

from collections.abc import Mapping

from vae_jax.runtime.config import Fields


def is_folded(config: Fields) -> bool:
    """Whether a config describes a run for each fold, not a single one."""
    data = config.get("data")
    return isinstance(data, Mapping) and bool(data.get("num_folds")) and data.get("fold", -1) == -1


def fold_configs(config: Fields) -> list[Fields]:
    """Returns the config of each fold's run; none where the config describes a single run."""
    if not is_folded(config):
        return []
    return [{**config, "data": {**config["data"], "fold": n}} for n in range(config["data"]["num_folds"])]
