"""Makes a run's page again from what lies in its folder: `python -m vae_jax.report --workdir=RUN`."""

from __future__ import annotations

from absl import flags

from vae_jax import report
from vae_jax.runtime import cli
from vae_jax.training import checkpointing, run_dir
from vae_jax.training.experiment import load_experiment


def main() -> None:
    """Writes the page and says where it is."""
    args = cli.flag_values("workdir")
    folder, _, _ = run_dir.load_run(args.workdir)
    inference = None
    if checkpointing.steps(folder.checkpoints):
        run = load_experiment(args.workdir)
        inference = run.inference()
    size = report.write_report(folder, inference)
    print(f"{folder.report}: {size / 2**20:.1f} MB; open it in a browser")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "Folder of a run.")
    cli.run(main)
