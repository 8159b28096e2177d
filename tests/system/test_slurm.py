"""The script for Slurm, submitted to a Slurm of this machine's own; skipped where there is none."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NEEDED = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")
CONFIG = """
ClusterName=vae_jax_test
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
NodeName={host} CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, NEEDED)) or not hasattr(os, "geteuid") or os.geteuid() != 0,
        reason="needs root and the Debian packages slurm-wlm and munge",
    ),
]


@pytest.fixture
def slurm(tmp_path: pathlib.Path) -> Iterator[Callable[..., str]]:
    """Starts a Slurm of one node; gives what runs one of its commands."""
    folder = tmp_path / "slurm"
    folder.mkdir(mode=0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    free = [socket.create_server(("", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in free]
    for one in free:
        one.close()
    host = socket.gethostname().split(".")[0]
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(folder=folder, host=host, ports=ports, cpus=os.cpu_count()))
    environment = os.environ | {"SLURM_CONF": str(config), "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}

    def call(*command: str) -> str:
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    call("mungekey", "--create", "--keyfile", str(folder / "munge.key"))
    munge = [f"--{name}={folder}/munge.{end}" for name, end in [("key-file", "key"), ("socket", "socket")]]
    munge += [f"--{name}={folder}/munge.{end}" for name, end in [("pid-file", "pid"), ("log-file", "log")]]
    call("munged", "--force", f"--seed-file={folder}/munge.seed", *munge)
    call("slurmctld")
    call("slurmd")
    try:
        wait_for(lambda: "idle" in call("sinfo", "--noheader"), 60)
        yield call
    finally:
        for name in ("slurmd", "slurmctld", "munge"):
            pid = folder / f"{name}.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), signal.SIGTERM)


def wait_for(reached: Callable[[], bool], seconds: float) -> None:
    for _ in range(int(seconds / 0.2)):
        if reached():
            return
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s")


def test_a_job_is_stopped_and_submitted_again(slurm, tmp_path):
    run, log = tmp_path / "run", tmp_path / "job.log"
    script = ["docs/cluster/slurm.sh", "--config=configs/smoke.py", f"--workdir={run}", "--config.train.batch_size=8"]
    script.append("--config.train.num_epochs=300")
    lines = run / "metrics.jsonl"

    job = slurm("sbatch", "--parsable", "--ntasks=2", f"--output={log}", *script)
    wait_for(lambda: lines.exists() and lines.read_text().count("\n") > 3, 240)
    slurm("scancel", "--signal=TERM", job)
    wait_for(lambda: not slurm("squeue", "--noheader"), 60)
    assert "process 1 of 2, 2 devices in all" in log.read_text()
    assert log.read_text().count("is saved; the same command resumes") == 2

    slurm("sbatch", "--ntasks=1", f"--output={log}", *script)
    wait_for(lambda: not slurm("squeue", "--noheader"), 400)
    assert f"resuming {run} from step" in log.read_text()
    assert "everything is in" in log.read_text()
