"""Prints the scores of a trained run; where it has a composer, composes and scores pieces anew into `metrics.json`.

python -m vae_jax.evaluate --workdir=RUN [--num=64] [--seed=0] [--path=FOLDER_OR_ZIP]
"""

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError


def main() -> None:
    """Prints the scores of the model and the likelihoods, then the scores of newly composed pieces."""
    args = cli.flag_values("workdir")

    from vae_jax.composer import stage
    from vae_jax.evaluation import composer as composer_lib
    from vae_jax.evaluation import reconstruction
    from vae_jax.evaluation.likelihood import table as likelihood
    from vae_jax.training.experiment import load_experiment

    run = load_experiment(args.workdir)
    if not run.folder.metrics.exists():
        raise UserError(f"{args.workdir}: no {run.folder.metrics.name} yet; let run.py finish")
    results = files.read_json(run.folder.metrics)
    print(reconstruction.summarise(results))
    composer = stage.load_composer(run) if "composer" in run.experiment.raw else None
    if composer is not None or "likelihood" not in results:
        source, split = run.load_corpus(args.path)
    if "likelihood" not in results:  # A run from before this table.
        results["likelihood"] = likelihood.evaluate(run.experiment, run.variables, source, split, composer)
        files.write_json(run.folder.metrics, results)
    print(f"\n{likelihood.summarise(results['likelihood'])}")
    if composer is None:
        return
    composed, _ = composer_lib.score_composer(composer, source, split, run.folder, args.num, args.seed)
    results |= {"composed": composed}
    files.write_json(run.folder.metrics, results)
    print(composer_lib.summarise(results))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_integer("num", 64, "Number of pieces to compose and score.", lower_bound=2, upper_bound=1000)
    flags.DEFINE_integer("seed", 0, "Seed of composing.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("path", "", "The corpus of the run, where it has moved.")
    cli.run(main)
