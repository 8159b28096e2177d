"""A cross-validation: the runs of all folds one after another, their scores summed up, and a page that links them."""

from typing import Protocol

from vae_jax.data.shards import corpus_view
from vae_jax.evaluation import folds as fold_scores
from vae_jax.report import folds_page
from vae_jax.runtime import distributed, files
from vae_jax.runtime.config import Fields
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json
from vae_jax.training import folds, run_dir


class MakeRun(Protocol):
    """The main job of one run: config and folder; with `repeat_evaluation` False a finished run is left as it is."""

    def __call__(self, config: Fields, workdir: str, *, repeat_evaluation: bool) -> None:
        """Makes the run, or what is missing of it."""


def run_folds(config: Fields, workdir: str, make_run: MakeRun) -> Json:
    """Makes the run of each fold in the folder, `fold_0` and so on, or what is missing of it, and sums them up in
    `metrics.json` and `report.html`.

    Returns the sum. Raises UserError where there are fewer tunes than folds, where the folder holds something else, and
    where several processes make one run: the next fold would wait for the evaluation of the one before.
    """
    if distributed.is_joined():
        raise UserError(
            "several processes make the run of one fold at a time: --config.data.fold=N --workdir=RUN/fold_N; one "
            "process then sums up the folds in RUN"
        )
    folder = run_dir.open_run(workdir, config, *corpus_view.find_split(config["data"], config["representation"]))
    configs = folds.fold_configs(config)
    for n, one in enumerate(configs):
        print(f"\nfold {n} of 0 to {len(configs) - 1}", flush=True)
        make_run(one, str(folder.fold(n).path), repeat_evaluation=False)
    results = fold_scores.sum_up([files.read_json(folder.fold(n).metrics) for n in range(len(configs))])
    files.write_json(folder.metrics, results)
    folds_page.write_page(folder)
    return results
