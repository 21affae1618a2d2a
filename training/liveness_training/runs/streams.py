"""The streams of batches that a run is trained on: images, and clips for a temporal head."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
from torch.utils.data import DataLoader

from liveness_training.config import TrainConfig
from liveness_training.data.batch import Batch
from liveness_training.data.batches import Item, TrainingCrops, clip_items
from liveness_training.data.clips import clips_of
from liveness_training.data.drawing import BalancedBatches, Drawn, image_items
from liveness_training.data.simulation import SIMULATIONS
from liveness_training.data.split_crops import SplitCrops
from liveness_training.data.teacher import Teacher
from liveness_training.loop.distributed import World
from liveness_training.loop.progress import IMAGES

CLIPS = "clip"


@dataclass(frozen=True, slots=True)
class Stream:
    """What the batches of one kind are drawn from."""

    items: Sequence[Drawn]
    per_domain: int
    """Images or clips of each domain in a batch."""


def streams_of(data: SplitCrops, config: TrainConfig) -> dict[str, Stream]:
    """Name -> stream, in the order of the steps of an iteration.

    Raises:
        DataError: there are no clips to train a temporal head on.
    """
    streams: dict[str, Stream] = {}
    train = data.protocol.train
    if not config.frozen:
        simulations = tuple(SIMULATIONS) if config.simulate else ()
        streams[IMAGES] = Stream(
            image_items(data.crops.samples, train, simulations=simulations), config.images_per_domain
        )
    if config.lstm:
        clips = clips_of(data.crops, train, config.clip, config.short_clips)
        streams[CLIPS] = Stream(clip_items(clips), config.clips_per_domain)
    return streams


def loaded(
    streams: Mapping[str, Stream],
    data: SplitCrops,
    config: TrainConfig,
    teacher: Teacher | None,
    start: int,
    world: World,
) -> dict[str, Iterable[Batch]]:
    """Name -> batches from iteration `start` on, each of them this process's part of the batch.

    Raises:
        DataError: a batch cannot be shared by so many processes, or not be cut into so many pieces.
    """
    # Set here and inherited: in a forked worker the call would wait for OpenCV's threads, which a fork does not copy.
    cv2.setNumThreads(1)
    dataset = TrainingCrops(
        data.crops,
        data.preprocess,
        data.protocol.sources,
        seed=config.seed,
        service_view_share=config.service_view_share,
        augmentation=config.augmentation,
        grey_share=config.grey_share,
        teacher=teacher,
    )
    batches: dict[str, Iterable[Batch]] = {}
    for number, (name, stream) in enumerate(streams.items(), start=1):
        sampler = BalancedBatches(
            stream.items,
            per_domain=stream.per_domain,
            steps=config.steps,
            seed=config.seed,
            start=start,
            part=world.part,
            accumulation=config.accumulation,
            stream=number,
        )
        loader: DataLoader[Item] = DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=config.workers,
            pin_memory=world.device.type == "cuda",
        )
        batches[name] = _Batches(loader, with_teacher=teacher is not None and name == IMAGES)
    return batches


class _Batches:
    """A loader's tensors as batches."""

    def __init__(self, loader: DataLoader[Item], *, with_teacher: bool) -> None:
        self._loader = loader
        self._with_teacher = with_teacher

    def __iter__(self) -> Iterator[Batch]:
        for image, label, domain, teacher in self._loader:
            yield Batch(image, label, domain, teacher.float() if self._with_teacher else None)
