"""What a run says while it trains: `metrics.jsonl`, TensorBoard events beside it, and progress on the terminal."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import time

import tqdm

from vae_jax.runtime import files, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.training.run_dir import RunFolder


class Progress:
    """A bar on a terminal; elsewhere a line now and then."""

    _NUM_LINES = 20

    def __init__(self, start_step: int, last_step: int, num_epochs: int):
        hidden = not (sys.stderr.isatty() and sharding.is_main_process())
        self._bar = tqdm.tqdm(total=last_step, initial=start_step, unit="step", disable=hidden, dynamic_ncols=True)
        self._first_step, self._last_step, self._num_epochs = start_step, last_step, num_epochs
        self._started = time.perf_counter()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self) -> None:
        """Counts a step."""
        self._bar.update()

    def epoch(self, line: dict[str, float]) -> None:
        """Shows the losses of an epoch."""
        text = f"loss {line['train_loss']:.4g}"
        if "held_out_loss" in line:
            text += f", held-out {line['held_out_loss']:.4g}"
        self._bar.set_postfix_str(text)
        step, epoch = line["step"], line["epoch"]
        due = epoch == 1 or step == self._last_step or epoch % max(1, self._num_epochs // self._NUM_LINES) == 0
        if self._bar.disable and due:
            rate = (step - self._first_step) / (time.perf_counter() - self._started)
            left = (self._last_step - step) / rate
            print(f"epoch {epoch}/{self._num_epochs} {text}, {rate:.3g} steps/s, {left:.0f} s left", flush=True)


class Log:
    """`metrics.jsonl`, one line a logged step, and TensorBoard events beside it.

    Lines after the step that training starts from are dropped: they will be written again, with the same numbers.

    Raises:
      UserError: where they cannot be written, a full disk for instance.
    """

    def __init__(self, folder: RunFolder, start_step: int):
        self._path = folder.metrics_lines
        kept = [json.dumps(line) + "\n" for line in read_log(folder) if line["step"] <= start_step]
        files.write_bytes(self._path, "".join(kept).encode())
        try:
            self._file = self._path.open("a", encoding="utf-8")
            self._events = _Events(folder.tensorboard, start_step)
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._file, self._events):
            with contextlib.suppress(OSError):  # What was not flushed on a full disk: it has been told already.
                file.close()

    def write(self, line: dict[str, float]) -> None:
        """Adds a line; every value but the step and epoch is a TensorBoard scalar too."""
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
            self._events.write(int(line["step"]), {k: v for k, v in line.items() if k not in ("step", "epoch")})
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self._path}: cannot be written ({error.strerror or error}); checkpoints are intact")


class _Events:
    """A TensorBoard event file, written at once: tensorboardX's own thread blocks for ever once the disk is full."""

    def __init__(self, folder: pathlib.Path, start_step: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        folder.mkdir(parents=True, exist_ok=True)
        self._event, self._scalar = event_pb2.Event, scalar
        self._writer = EventsWriter(str(folder / "events"), filename_suffix=f".{start_step}")
        self.close = self._writer.close
        # Events of the steps that will be made again are taken back.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.write_event(self._event(step=start_step + 1, wall_time=time.time(), session_log=start))

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            event = self._event(step=step, wall_time=time.time(), summary=self._scalar(name, value))
            self._writer.write_event(event)
        self._writer.flush()


def read_log(folder: RunFolder) -> list[dict[str, float]]:
    """Returns the lines of `metrics.jsonl`; a last line that a kill cut short is left out."""
    lines = []
    with contextlib.suppress(FileNotFoundError, ValueError):
        for text in folder.metrics_lines.read_text(encoding="utf-8").splitlines():
            lines.append(json.loads(text))
    return lines
