"""The main job: from MIDI files to a trained VAE, its reconstructions, samples, plots and scores, in one folder.

python run.py --config=configs/anthems.py [--workdir=runs/anthems] [--config.data.path=FOLDER_OR_ZIP]
"""

from __future__ import annotations

import functools
import time

from absl import flags
from ml_collections import config_flags

from vae_jax import cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder; runs/<config name> by default.")
flags.mark_flag_as_required("config")


def main() -> None:
    """Calls the rooms in their order."""
    from vae_jax import (
        batches,
        composing,
        corpus,
        evaluate,
        evaluate_composer,
        experiment,
        files,
        ingest,
        loop,
        present,
        report,
        runs,
    )
    from vae_jax.inference import Inference, calibrate

    started = time.perf_counter()
    config = cli.config_value(_CONFIG).to_dict()
    workdir = _WORKDIR.value or runs.default_workdir(config)

    setup = experiment.build_experiment(config)
    source, split = corpus.find_split(config["data"])
    folder = runs.open_run(workdir, config, source, split)
    ingested = ingest.ingest_report(source)
    files.write_json(folder.ingest, ingested)
    print(ingest.render_report(ingested).splitlines()[-1])

    scores = [piece.score for piece in source.pieces]
    train_arrays, held_out_arrays = experiment.encode_split(setup, scores, split)
    num_steps = setup.num_steps(batches.num_examples(train_arrays))
    state = loop.fit(
        lambda: setup.init_state(num_steps, train_arrays),
        setup.abstract_state(),
        functools.partial(setup.train_step, num_steps),
        setup.eval_step(),
        train_arrays=train_arrays,
        held_out_arrays=held_out_arrays,
        config=config["train"],
        seed=config["seed"],
        folder=folder,
    )
    calibration = calibrate(setup, state.trained_variables, train_arrays)
    files.write_json(folder.calibration, calibration)
    inference = Inference(setup, state.trained_variables, calibration)
    reconstructions = inference.reconstruct(scores)
    results = evaluate.evaluate(setup, source, split, reconstructions, train_arrays)
    files.write_json(folder.metrics, results)
    present.write_latents(folder, split, reconstructions)
    present.write_pictures(folder, setup, source, split, reconstructions, results)
    present.write_music(folder, setup, source, split, reconstructions, inference)
    if "composer" in config:
        composer = composing.train_composer(setup, inference, state.trained_variables, source, split, folder)
        results |= present.write_compositions(folder, composer, source, split)
        files.write_json(folder.metrics, results)
    files.write_json(folder.timing, {"seconds": round(time.perf_counter() - started, 1)})
    report.write_report(folder, inference)
    print(evaluate.summarise(results))
    if "composed" in results:
        print(evaluate_composer.summarise(results))
    print(f"everything is in {workdir}")


if __name__ == "__main__":
    cli.run(main)
