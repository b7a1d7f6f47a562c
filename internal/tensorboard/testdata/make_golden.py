"""Writes golden.tfevents with the event classes of the tensorboard package."""
import struct

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

with open("golden.tfevents", "wb") as f:
    w = RecordWriter(f)
    def write(wall_time, step, **rest):
        event = event_pb2.Event(wall_time=wall_time, step=step, **rest)
        w.write(event.SerializeToString())
    value = lambda tag, v: summary_pb2.Summary.Value(tag=tag, simple_value=v)
    write(1700000000.25, 0, file_version="brain.Event:2")
    write(1700000001.5, 1, summary=summary_pb2.Summary(value=[value("train/loss", 0.5)]))
    write(1700000002.0, 300, summary=summary_pb2.Summary(value=[value("train/loss", -1e-7), value("gradient norm, à", 1e30)]))
    w.flush()
