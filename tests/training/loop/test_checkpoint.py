import torch

from liveness_training.loop import checkpoint


def test_latest_state_comes_back_as_it_was(tmp_path):
    for step in (2, 4, 10):
        checkpoint.save(tmp_path / "c", step, {"step": step, "weights": {"a": torch.full((3,), float(step))}})
    state = checkpoint.latest(tmp_path / "c")
    assert state["step"] == 10
    assert state["weights"]["a"].tolist() == [10.0] * 3


def test_the_two_latest_are_kept(tmp_path):
    for step in (999, 1000, 2000):
        checkpoint.save(tmp_path, step, {"step": step})
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoint.latest(tmp_path)["step"] == 2000


def test_there_is_none_before_the_first(tmp_path):
    assert checkpoint.latest(tmp_path / "nowhere") is None


def test_damaged_ones_are_skipped_with_a_warning(tmp_path, caplog):
    checkpoint.save(tmp_path, 1, {"step": 1})
    newest = checkpoint.save(tmp_path, 2, {"step": 2})
    content = newest.read_bytes()
    for damaged in (content[:-1], content[:40], b"", content[:-5] + b"x" + content[-4:]):
        newest.write_bytes(damaged)
        caplog.clear()
        assert checkpoint.latest(tmp_path)["step"] == 1
        assert newest.name in caplog.text


def test_what_a_kill_left_half_written_is_never_read(tmp_path):
    checkpoint.save(tmp_path, 1, {"step": 1})
    (tmp_path / "step-00000002.partial").write_bytes(b"half")
    assert checkpoint.latest(tmp_path)["step"] == 1
    checkpoint.save(tmp_path, 2, {"step": 2})
    assert checkpoint.latest(tmp_path)["step"] == 2
