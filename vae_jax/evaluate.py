"""The scores of a trained run; where it has a composer, new pieces are composed and scored, and `metrics.json` renewed.

python -m vae_jax.evaluate --workdir=RUN [--num=64] [--seed=0] [--path=FOLDER_OR_ZIP]
"""

from __future__ import annotations

from absl import flags

from vae_jax.composer import stage
from vae_jax.data.corpus import Corpus, Split
from vae_jax.data.shards import corpus_view
from vae_jax.evaluation import composer as composer_lib
from vae_jax.evaluation import reconstruction
from vae_jax.runtime import cli, files
from vae_jax.runtime.errors import UserError
from vae_jax.training.experiment import TrainedRun, load_experiment


def _corpus_of(run: TrainedRun, path: str) -> tuple[Corpus, Split]:
    """Loads the corpus that a run was made on, and its split.

    Raises:
      UserError: where it is another corpus.
    """
    config = run.experiment.raw
    source, split = corpus_view.find_split(config["data"], config["representation"], path)
    known = run.description["corpus"]
    if source.fingerprint != known["fingerprint"]:
        raise UserError(
            f"the run was made on another corpus ({known['name']}, {known['pieces']} pieces) than the one found "
            f"({source.name}, {source.num_pieces} pieces); give it by --path"
        )
    return source, split


def main() -> None:
    """Prints the scores of a run, those of the composer anew."""
    args = cli.flag_values("workdir")
    run = load_experiment(args.workdir)
    if not run.folder.metrics.exists():
        raise UserError(f"{args.workdir}: no {run.folder.metrics.name} yet; let run.py finish")
    results = files.read_json(run.folder.metrics)
    print(reconstruction.summarise(results))
    if "composer" not in run.experiment.raw:
        return
    composer = stage.load_composer(run)
    source, split = _corpus_of(run, args.path)
    composed, _ = composer_lib.score_composer(composer, source, split, run.folder, args.num, args.seed)
    results |= {"composed": composed}
    files.write_json(run.folder.metrics, results)
    print(composer_lib.summarise(results))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a trained run.")
    flags.DEFINE_integer("num", 64, "How many pieces to compose for the scores.", lower_bound=2, upper_bound=1000)
    flags.DEFINE_integer("seed", 0, "Seed of composing.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("path", "", "The run's corpus, where it is not where the config says.")
    cli.run(main)
