"""Training the feature net that measuring needs, with Ray Train, once for each run that requests it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from branchwise.orchestration.errors import FeaturesFailedError, FeaturesRefusedError
from branchwise.orchestration.execution.cluster import on_cluster
from branchwise.orchestration.execution.trials import last_line
from branchwise.orchestration.monitoring.progress import Display, watch
from branchwise.orchestration.planning.machine import Cluster
from branchwise.orchestration.run_folder.lock import acquire_blocking
from branchwise.orchestration.space import Space
from branchwise.trainables.runtime.measuring import FEATURES, features_loop
from branchwise.trainables.runtime.ray_worker import Job, train_on_workers
from branchwise.trainables.runtime.run_folder import FeatureNets
from branchwise.trainables.runtime.storage import Storage


def prepare_features(
    space: Space, spec: Any, storage: Storage, on: Cluster, display: Display, check: Callable[[], None]
) -> None:
    """Trains the feature net of these settings where it is required and missing.

    When another process is at it already, waits for that one. Raises FeaturesFailedError, also for a net that is not
    good enough.
    """
    key = space.module.features_key(spec)
    if key is None:
        return
    nets = FeatureNets(storage)
    if not nets.trained(key):
        unfinished = nets.unfinished(key)
        with acquire_blocking(unfinished.files, lambda: display.training(FEATURES, unfinished)):
            if not nets.trained(key):
                _train(space, spec, key, storage, on, display, check)
            unfinished.files.delete("")
        display.trained(FEATURES)
    with tempfile.TemporaryDirectory(prefix="branchwise-") as scratch:
        try:
            space.module.check_features(spec, nets.get(key, Path(scratch)))
        except ValueError as error:
            raise FeaturesRefusedError(str(error)) from error


def _train(
    space: Space, spec: Any, key: str, storage: Storage, on: Cluster, display: Display, check: Callable[[], None]
) -> None:
    from ray.train import TrainingFailedError

    unfinished = FeatureNets(storage).unfinished(key)
    gpu = space.resources.gpus_per_trial > 0
    job = Job(
        trainable=space.trainable,
        spec=spec.model_dump(mode="json"),
        storage=storage.root,
        run=unfinished.name,
        workers=1,
        threads=max(on.nodes),
        gpus=float(gpu),
        folder=space.folder,
    )
    arguments = features_loop, {"job": job, "key": key}, job, unfinished, FEATURES, space.resources.max_retries
    try:
        watch(
            lambda stop: on_cluster(train_on_workers, *arguments, stop=stop),
            lambda: display.training(FEATURES, unfinished),
            check,
        )
    except TrainingFailedError as error:
        log = unfinished.write_log(FEATURES, str(error))
        raise FeaturesFailedError(f"the feature net's training failed: {last_line(str(error))}; see {log}") from error
