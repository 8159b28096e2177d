"""Prints the scores of a trained run; where it has a composer, composes and scores pieces anew into `metrics.json`.

python -m vae_jax.evaluate --workdir=RUN [--num=64] [--seed=0] [--bots] [--path=FOLDER_OR_ZIP]

Of a run of several folds it prints the sum, and of several runs how the others differ from the first on the same tunes:

python -m vae_jax.evaluate --compare RUN RUN ...
"""

from absl import flags

from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.files import Json


def read_metrics(workdir: str) -> Json:
    """Returns the `metrics.json` of a run, or of all its folds."""
    from vae_jax.training import run_dir

    folder, _, _ = run_dir.load_run(workdir, allow_folds=True)
    if not folder.metrics.exists():
        raise UserError(f"{workdir}: no {folder.metrics.name} yet; let run.py finish")
    metrics: Json = files.read_json(folder.metrics)
    return metrics


def compare(workdirs: list[str]) -> None:
    """Prints how some runs differ from the first."""
    from vae_jax.evaluation import comparison

    if len(workdirs) < 2:
        raise UserError("--compare takes the folders of two runs or more: --compare RUN RUN ...")
    first, *others = map(read_metrics, workdirs)
    found = [comparison.compare(first, one, (workdirs[0], workdirs[n + 1])) for n, one in enumerate(others)]
    print(comparison.summarise(workdirs, found))


def main() -> None:
    """Prints the scores of the model and the likelihoods, then the scores of newly composed pieces."""
    if flags.FLAGS.compare:
        compare(cli.arguments())
        return
    args = cli.flag_values("workdir")
    results = read_metrics(args.workdir)

    from vae_jax.composer import stage
    from vae_jax.evaluation import composer as composer_lib
    from vae_jax.evaluation import folds, reconstruction
    from vae_jax.evaluation.likelihood import table as likelihood
    from vae_jax.training.experiment import load_experiment

    if "over_folds" in results:
        print(folds.summarise(results))
        return
    run = load_experiment(args.workdir)
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
    composed, _ = composer_lib.score_composer(
        composer, run.inference(), source, split, args.num, args.seed, with_bots=args.bots
    )
    results |= {"composed": composed}
    files.write_json(run.folder.metrics, results)
    print(composer_lib.summarise(results))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_integer("num", 64, "Number of pieces to compose and score.", lower_bound=2, upper_bound=1000)
    flags.DEFINE_integer("seed", 0, "Seed of composing.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_bool("bots", False, "Also test that shuffled, recombined and sampled real pieces are told from real.")
    flags.DEFINE_string("path", "", "The corpus of the run, where it has moved.")
    flags.DEFINE_bool("compare", False, "Compare the runs whose folders are given: --compare RUN RUN ...")
    cli.run(main, takes_arguments="compare")
