#!/usr/bin/env bash
# One run by all tasks of a Slurm job. From the checkout that holds .venv:
#
#   sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 docs/cluster/slurm.sh \
#     --config=configs/anthems.py --workdir=/shared/runs/anthems
#
# One task a GPU. The checkout, the run's folder and the corpus lie on a disk that all nodes share. When the time is up,
# or on scancel --signal=TERM, the run saves its state; the same command resumes it, with any number of tasks.
#SBATCH --job-name=vae_jax
#SBATCH --output=vae_jax-%j.log
#SBATCH --requeue
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
exec srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" run.py --distributed "$@"
