"""Cross-validation: one config that describes a run for each fold."""

from vae_jax.runtime.config import Fields


def is_folded(config: Fields) -> bool:
    """Whether a config describes a run for each fold, not a single one."""
    data = config["data"]
    return bool(data.get("num_folds")) and data.get("fold", -1) < 0


def fold_configs(config: Fields) -> list[Fields]:
    """Returns the config of each fold's run; none where the config describes a single run."""
    data = config["data"]
    return [{**config, "data": {**data, "fold": n}} for n in range(data["num_folds"])] if is_folded(config) else []
