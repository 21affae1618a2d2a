import pytest
import torch
import torch.distributed as dist
from torch import nn

from liveness_training.errors import TrainingError
from liveness_training.loop.distributed import GlobalBatchNorm2d, World, joined, with_global_batch_norms
from support.small_networks import SmallEncoder


@pytest.fixture
def group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_global_batch_norm_equals_a_plain_one_on_the_whole_batch(group):
    plain, ours = nn.BatchNorm2d(4), GlobalBatchNorm2d(4)
    for norm in (plain, ours):
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
            norm.bias.copy_(torch.tensor([0.1, 0.0, -3.0, 1.0]))
    images = [(torch.randn(6, 4, 5, 5) * 3 + 1).requires_grad_() for _ in range(2)]
    copies = [image.detach().clone().requires_grad_() for image in images]
    for image, copy in zip(images, copies, strict=True):
        expected, actual = plain(image), ours(copy)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        expected.pow(3).sum().backward()
        actual.pow(3).sum().backward()
        torch.testing.assert_close(copy.grad, image.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(images[0]), plain.eval()(images[0]))


def test_batch_norms_are_replaced_only_where_there_are_several_processes():
    encoder = SmallEncoder(norm=True)
    assert with_global_batch_norms(encoder, World()) is encoder
    assert not any(isinstance(module, GlobalBatchNorm2d) for module in encoder.modules())
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    replaced = with_global_batch_norms(encoder, World(rank=0, size=2))
    assert any(isinstance(module, GlobalBatchNorm2d) for module in replaced.modules())
    assert replaced.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in replaced.state_dict().items())


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="device=cpu"), joined("cuda"):
        pass


def test_one_process_without_torchrun_is_a_world_of_its_own(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as world:
        assert (world.rank, world.size, world.first) == (0, 1, True)
        assert world.total(torch.tensor(3.0)) == 3


def test_replaced_batch_norms_stay_in_their_mode():
    for training in (True, False):
        replaced = with_global_batch_norms(SmallEncoder(norm=True).train(training), World(rank=0, size=2))
        assert all(module.training is training for module in replaced.modules())


def test_on_gpus_batch_norms_become_torchs_own_with_the_same_state():
    encoder = SmallEncoder(norm=True)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    replaced = with_global_batch_norms(encoder, World(rank=0, size=2, device=torch.device("cuda", 0)))
    assert any(isinstance(module, nn.SyncBatchNorm) for module in replaced.modules())
    assert replaced.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in replaced.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_is_taken_where_there_is_one(monkeypatch, device):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with joined(device) as world:
        assert world.device == torch.device("cuda", 0)
        assert world.total(torch.tensor(3.0, device=world.device)) == 3
