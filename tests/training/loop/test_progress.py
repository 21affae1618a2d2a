import json

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from liveness_training.loop.progress import Progress


def sums(loss=6.0, correct=3.0, count=4.0):
    return {name: torch.tensor(value) for name, value in {"loss": loss, "correct": correct, "count": count}.items()}


def told(folder, steps=25, start=0, every=10):
    with Progress(folder, steps, start, every) as progress:
        for step in range(start, steps):
            progress.iteration(step, 0.1, {"image": sums(), "clip": sums(loss=2.0)}, images=4)


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_every_tenth_iteration_and_the_last_have_a_line_of_means(tmp_path):
    told(tmp_path)
    assert [line["step"] for line in lines(tmp_path)] == [0, 10, 20, 24]
    line = lines(tmp_path)[0]
    assert line["lr"] == 0.1
    assert line["images_per_s"] > 0
    assert line["loss"] == 1.5
    assert line["accuracy"] == 0.75
    assert line["clip/loss"] == 0.5
    assert line["clip/accuracy"] == 0.75
    assert "count" not in line


def test_a_resumed_run_writes_each_line_once(tmp_path):
    told(tmp_path, steps=8, every=1)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    told(tmp_path, steps=12, start=5, every=1)
    assert [line["step"] for line in lines(tmp_path)] == list(range(12))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "tensorboard"]


def test_processes_other_than_the_first_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told(None)
    assert not list(tmp_path.iterdir())


def records(path):
    """The events of a TensorBoard file: length, checksum, content, checksum each."""
    content, place = path.read_bytes(), 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], "little")
        yield Event.FromString(content[place + 12 : place + 12 + length])
        place += 16 + length


def test_tensorboard_gets_the_same_values(tmp_path):
    told(tmp_path)
    [path] = (tmp_path / "tensorboard").iterdir()
    scalars = {(value.tag, event.step): value.simple_value for event in records(path) for value in event.summary.value}
    assert scalars["loss", 20] == 1.5
    assert scalars["clip/loss", 24] == 0.5
    assert scalars["lr", 0] == pytest.approx(0.1)
