"""The log of training: `metrics.jsonl`, TensorBoard events beside it, and progress on the terminal."""

import contextlib
import json
import pathlib
import sys
import time
from collections.abc import Iterator

import tqdm

from vae_jax.runtime import files, sharding
from vae_jax.runtime.errors import UserError
from vae_jax.training.run_dir import RunFolder

_NUM_LINES = 20  # Of progress where there is no terminal.


class Progress(contextlib.AbstractContextManager["Progress"]):
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, start_step: int, last_step: int, num_epochs: int):
        hidden = not (sys.stderr.isatty() and sharding.is_main_process())
        self._bar = tqdm.tqdm(total=last_step, initial=start_step, unit="step", disable=hidden, dynamic_ncols=True)
        self._first_step, self._last_step, self._num_epochs = start_step, last_step, num_epochs
        self._started = time.perf_counter()

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
        due = epoch == 1 or step == self._last_step or epoch % max(1, self._num_epochs // _NUM_LINES) == 0
        if self._bar.disable and due:
            rate = (step - self._first_step) / (time.perf_counter() - self._started)
            left = (self._last_step - step) / rate
            print(f"epoch {epoch}/{self._num_epochs} {text}, {rate:.3g} steps/s, {left:.0f} s left", flush=True)


class Log(contextlib.AbstractContextManager["Log"]):
    """`metrics.jsonl`, one line a logged step, and TensorBoard events beside it.

    Lines after the step that training starts from are dropped: they will be written again, with the same numbers.

    Raises:
      UserError: where they cannot be written, a full disk for instance.
    """

    def __init__(self, folder: RunFolder, start_step: int):
        # tensorboardX's SummaryWriter writes in a thread that blocks for ever once the disk is full.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        self._path, self._event, self._scalar = folder.metrics_lines, Event, scalar
        kept = [json.dumps(line) + "\n" for line in read_log(folder) if line["step"] <= start_step]
        files.write_bytes(self._path, "".join(kept).encode())
        with _disk_errors(self._path):
            folder.tensorboard.mkdir(parents=True, exist_ok=True)
            self._lines = self._path.open("a", encoding="utf-8")
            self._events = EventsWriter(str(folder.tensorboard / "events"), filename_suffix=f".{start_step}")
            # TensorBoard drops the events of the steps that will be made again.
            start = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(step=start_step + 1, wall_time=time.time(), session_log=start))

    def __exit__(self, *_: object) -> None:
        for file in (self._lines, self._events):
            with contextlib.suppress(OSError):  # What a full disk has not taken; `write` has raised for it already.
                file.close()

    def write(self, line: dict[str, float]) -> None:
        """Adds a line; every value but the step and epoch is a TensorBoard scalar too."""
        with _disk_errors(self._path):
            self._lines.write(json.dumps(line, allow_nan=False) + "\n")
            self._lines.flush()
            for name in [name for name in line if name not in ("step", "epoch")]:
                summary = self._scalar(name, line[name])
                self._events.write_event(self._event(step=int(line["step"]), wall_time=time.time(), summary=summary))
            self._events.flush()


@contextlib.contextmanager
def _disk_errors(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); checkpoints are intact") from error


def read_log(folder: RunFolder) -> list[dict[str, float]]:
    """Returns the lines of `metrics.jsonl`; a last line that a killed process has not finished is left out."""
    lines = []
    with contextlib.suppress(FileNotFoundError, ValueError):
        for text in folder.metrics_lines.read_text(encoding="utf-8").splitlines():
            lines.append(json.loads(text))
    return lines
