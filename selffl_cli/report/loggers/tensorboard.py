"""TensorBoard: a folder of event files for each run."""

from __future__ import annotations

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from .scalars import About, Round


class TensorBoard:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, run: About) -> Run:
        folder = self.folder / run.experiment / run.name
        for former in folder.glob("events.out.tfevents.*"):
            former.unlink()
        return Run(EventFileWriter(str(folder), flush_secs=1))

    def close(self) -> None:
        """Each run's file is closed with it."""

    def hint(self) -> str:
        return f"tensorboard --logdir {self.folder}"


class Run:
    def __init__(self, writer: EventFileWriter) -> None:
        self.writer = writer

    def write(self, round_: Round) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in round_.values.items()]
        self.writer.add_event(Event(wall_time=round_.time, step=round_.number, summary=Summary(value=values)))

    def end(self, status: str) -> None:
        self.writer.close()


def open_logger(where: str) -> TensorBoard:
    return TensorBoard(Path(where))
