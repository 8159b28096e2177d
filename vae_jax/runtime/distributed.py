"""Several processes as one run: `jax.distributed`, set up by flags or by the cluster's launcher."""

import os
import sys
from typing import NoReturn

from absl import flags

from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity

_SHUTDOWN_SEC = 24 * 3600  # The others wait while the main process writes what the run leaves.


def define_flags() -> None:
    """Defines the flags that `join` reads."""
    flags.DEFINE_bool(
        "distributed", False, "Join the processes of the cluster's launcher (Slurm, Open MPI, Kubernetes, TPU pods)."
    )
    flags.DEFINE_string("coordinator_address", "", "Join other processes: HOST:PORT of process 0.")
    flags.DEFINE_integer("num_processes", None, "How many processes there are.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
    flags.DEFINE_integer(
        "heartbeat_timeout_sec", 100, "After how long without a sign of a process all others end.", lower_bound=1
    )


def join() -> None:
    """Joins the other processes where the flags say so; to be called before anything is computed.

    Only the main process goes on printing to stdout. Where a process dies the others end too, with a message by JAX:
    start all of them again to resume, as many as there are then.

    Raises:
      UserError: where the flags do not say enough, or the others cannot be found.
    """
    args = flags.FLAGS
    given = [args.num_processes is not None, args.process_id is not None]
    if not args.distributed and not args.coordinator_address:
        if any(given):
            raise UserError("--num_processes and --process_id need --coordinator_address=HOST:PORT")
        return
    if args.coordinator_address and not all(given):
        raise UserError("--coordinator_address needs --num_processes and --process_id")
    if all(given) and args.process_id >= args.num_processes:
        raise UserError(f"--process_id must be below --num_processes, got {args.process_id} of {args.num_processes}")
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # It would handle SIGTERM in our place.
    try:
        jax.distributed.initialize(
            coordinator_address=args.coordinator_address or None,
            num_processes=args.num_processes,
            process_id=args.process_id,
            heartbeat_timeout_seconds=args.heartbeat_timeout_sec,
            shutdown_timeout_seconds=_SHUTDOWN_SEC,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the run's other processes cannot be joined ({' '.join(str(error).split())[:300]}); without a launcher "
            "that JAX knows give --coordinator_address, --num_processes and --process_id"
        ) from error
    devices = quantity(jax.device_count(), "device")
    print(f"process {jax.process_index()} of {jax.process_count()}, {devices} in all", flush=True)
    if jax.process_index():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # To the end of the process.


def is_joined() -> bool:
    """Whether this process has joined others."""
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def end(exit_code: int) -> NoReturn:
    """Ends this process, without waiting for those that it has joined: they notice, and end too."""
    if is_joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)
