"""Makes the page of a run again from the files in its folder: `python -m vae_jax.report --workdir=RUN`."""

from absl import flags

from vae_jax.runtime import cli


def main() -> None:
    """Writes the page and prints its path."""
    args = cli.flag_values("workdir")

    from vae_jax.report import folds_page, page
    from vae_jax.training import checkpointing, folds, run_dir
    from vae_jax.training.experiment import load_experiment

    folder, config, _ = run_dir.load_run(args.workdir, allow_folds=True)
    if folds.is_folded(config):
        size = folds_page.write_page(folder)
    else:
        inference = load_experiment(args.workdir).inference() if checkpointing.steps(folder.checkpoints) else None
        size = page.write_report(folder, inference)
    print(f"{folder.report}: {size / 2**20:.1f} MB; open it in a browser")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a run.")
    cli.run(main)
