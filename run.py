"""The main job: from MIDI files to a trained VAE, its reconstructions, samples, plots and scores, in one folder.

python run.py --config=configs/anthems.py [--workdir=runs/anthems] [--config.data.path=FOLDER_OR_ZIP]

With --config.data.num_folds=5 it makes a run for each of five folds, in `fold_0` to `fold_4` of the folder, and sums up
their scores. Several processes make one run with --distributed, or with --coordinator_address, --num_processes and
--process_id.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import config_flags

from vae_jax.runtime import cli, distributed, memory

if TYPE_CHECKING:
    from vae_jax.composer.stage import TrainedComposer
    from vae_jax.data.corpus import Corpus
    from vae_jax.data.dataset import Dataset
    from vae_jax.data.splits import Split
    from vae_jax.models.inference import Inference
    from vae_jax.runtime.config import Fields
    from vae_jax.training.experiment import Experiment
    from vae_jax.training.run_dir import RunFolder

config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder; runs/<config name> by default.")
flags.mark_flag_as_required("config")
distributed.define_flags()


def main() -> None:
    """Makes the run of a config, or that of each of its folds and their sum."""
    from vae_jax.evaluation import folds as fold_scores
    from vae_jax.report import cross_validation
    from vae_jax.training import experiment, folds, run_dir

    distributed.join()
    memory.trim_after_compiling()
    config = cli.config_value().to_dict()
    workdir = _WORKDIR.value or run_dir.default_workdir(config)
    experiment.build_experiment(config)  # Refuses what no run can have.
    if not folds.is_folded(config):
        make_run(config, workdir)
        return
    results = cross_validation.run_folds(config, workdir, make_run)
    print(f"\n{fold_scores.summarise(results)}\neverything is in {workdir}")


def make_run(config: Fields, workdir: str, *, repeat_evaluation: bool = True) -> None:
    """Runs the stages in order; nothing in the folder of a finished run, where its evaluation is not to be repeated."""
    from vae_jax.composer import stage
    from vae_jax.data import ingest_report
    from vae_jax.data.shards import corpus_view
    from vae_jax.models.inference import CALIBRATION_EXAMPLES, Inference, calibrate
    from vae_jax.report import page
    from vae_jax.runtime import files, sharding
    from vae_jax.training import experiment, loop, run_dir

    started = time.perf_counter()
    setup = experiment.build_experiment(config)
    source, split = corpus_view.find_split(config["data"], config["representation"])
    starts = experiment.load_starts(setup, source, split)
    start = starts.get("model")
    known_composer = stage.load_start(starts["composer"], setup) if "composer" in starts else None
    described = {part: one.describe() for part, one in starts.items()}
    folder = run_dir.open_run(workdir, config, source, split, described)
    if folder.is_finished and not repeat_evaluation:
        print(f"finished before: {workdir}")
        return
    ingested = ingest_report.describe_corpus(source)
    if sharding.is_main_process():
        files.write_json(folder.ingest, ingested)
    print(ingest_report.render_report(ingested).splitlines()[-1])

    dataset = setup.make_dataset(source, split)
    adapted = None if start is None else lambda: setup.trainable.adapt(start.variables, dataset, setup.key())
    state = loop.fit(
        setup.trainable, dataset, setup.train, folder, key=setup.key(), order_seed=setup.seed, start=adapted
    )
    sample = dataset.train.sample(CALIBRATION_EXAMPLES)
    calibration = calibrate(setup.model, setup.representation, state.trained_variables, sample)
    if sharding.is_main_process():
        files.write_json(folder.calibration, calibration)
    inference = Inference(setup.model, setup.representation, state.trained_variables, calibration)
    composer = None
    if "composer" in config:
        composer = stage.train_composer(setup, source, split, folder, known_composer)
    if not sharding.is_main_process():
        return

    summary = _evaluate(folder, setup, source, split, dataset, inference, composer)
    files.write_json(folder.timing, {"seconds": round(time.perf_counter() - started, 1)})
    page.write_report(folder, inference)
    print(f"{summary}\neverything is in {workdir}")


def _evaluate(
    folder: RunFolder,
    setup: Experiment,
    source: Corpus,
    split: Split,
    dataset: Dataset[Any],
    inference: Inference,
    composer: TrainedComposer | None,
) -> str:
    """Scores what a run has trained and writes its music and plots; returns the tables to print."""
    from vae_jax.evaluation import composer as composer_lib
    from vae_jax.evaluation import reconstruction
    from vae_jax.evaluation.likelihood import table as likelihood
    from vae_jax.report import artifacts
    from vae_jax.runtime import files

    reconstructions = inference.reconstruct([piece.score for piece in source.pieces])
    results = reconstruction.evaluate(setup, source, split, reconstructions, dataset.train)
    results["likelihood"] = likelihood.evaluate(setup, inference.variables, source, split, composer)
    files.write_json(folder.metrics, results)
    artifacts.write_all(folder, setup, source, split, reconstructions, inference, results)
    summary = f"{reconstruction.summarise(results)}\n\n{likelihood.summarise(results['likelihood'])}"
    if composer is None:
        return summary
    num, seed = composer.stage.config.num_scored, setup.sample.seed
    results["composed"], pieces = composer_lib.score_composer(composer, inference, source, split, num, seed)
    artifacts.write_scores(folder.compositions, "composition", pieces[: setup.sample.num])
    results["attributes"] = composer_lib.measure_attributes(composer, seed)
    files.write_json(folder.metrics, results)
    return f"{summary}\n{composer_lib.summarise(results)}"


if __name__ == "__main__":
    memory.use_huge_pages()
    cli.run(main)
