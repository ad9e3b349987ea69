"""A space: what to train, which parts of it to switch, how often, and with what resources."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, PositiveInt, StringConstraints, Tag, model_validator

from branchwise.orchestration.designs import KINDS
from branchwise.orchestration.designs.base import Design
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import unknown_key, validated
from branchwise.orchestration.input.published import Published, published_numbers
from branchwise.orchestration.input.yaml_file import read_file, read_tree, to_yaml
from branchwise.orchestration.limits import Limits
from branchwise.orchestration.time_limit import LIMIT_SECONDS, run_with_timeout
from branchwise.orchestration.tracking.registry import registered
from branchwise.run_files import schemas
from branchwise.run_files.layout import PLAN
from branchwise.run_files.sealing import DamagedError, read_sealed_json
from branchwise.trainables import BUILT_IN, DEFAULT, Trainable, load_trainable
from branchwise.trainables.runtime.loading import check_exists
from branchwise.trainables.runtime.run_folder import NAME_PATTERN
from branchwise.trainables.runtime.session import is_registered
from branchwise.trainables.runtime.settings import Strict, TupleOf
from branchwise.trainables.unimported import UnimportedTrainable


class Resources(Strict):
    """The resources of a cohort (a trial of Ray Tune).

    `workers` 0 trains inside the Tune actor, N >= 1 on N Ray Train workers. Each process trains on
    one GPU; one that is alone may do with a part of a GPU, so that several trials share it.
    """

    cpus_per_trial: PositiveInt = 1
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0.0
    workers: Annotated[int, Field(ge=0)] = 0
    max_concurrent: PositiveInt | Literal["auto"] = "auto"
    arms_per_trial: PositiveInt | Literal["auto"] = "auto"
    max_retries: Annotated[int, Field(ge=0, le=100)] = 2
    max_silence: PositiveInt = 3600  # seconds without a report of any cohort, after which the sweep ends

    @model_validator(mode="after")
    def _check_gpus_per_trial(self) -> Resources:
        processes = max(1, self.workers)
        if 0 < self.gpus_per_trial != processes and not (processes == 1 and self.gpus_per_trial < 1):
            allowed = f"0 or {processes}" if processes > 1 else "0, 1 or a part of 1"
            raise ValueError(
                f"gpus_per_trial {self.gpus_per_trial:g} is not allowed with workers {self.workers}: each worker "
                f"trains on one GPU, so it must be {allowed}"
            )
        return self

    @property
    def gpus_per_worker(self) -> float:
        """1, or the part of a GPU that the one process of a trial has; 0 on CPUs."""
        return self.gpus_per_trial / max(1, self.workers)


def _kind(design: Any) -> Any:
    return design.get("kind", "factorial") if isinstance(design, dict) else getattr(design, "kind", None)


if TYPE_CHECKING:
    AnyDesign = Design
else:
    _tagged = [Annotated[design, Tag(kind)] for kind, design in KINDS.items()]
    AnyDesign = Annotated[functools.reduce(operator.or_, _tagged), Discriminator(_kind)]


class SharedKeys(Strict):
    """The keys of a space that every trainable shares."""

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    trainable: str = DEFAULT
    design: AnyDesign
    resources: Resources = Resources()
    tracking: TupleOf[Annotated[str, AfterValidator(registered)]] = ()
    published: Published | None = None
    reuse: TupleOf[
        Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    ] = ()  # runs with finished arms that may be reused
    limits: Limits = Limits()


SPACE_KEYS = tuple(SharedKeys.model_fields)  # the others belong to the trainable


@dataclass(frozen=True, kw_only=True)
class Space:
    """`folder` is where the space file is; `notices` are messages for its plan."""

    name: str
    method: Method
    design: Design
    resources: Resources
    tracking: tuple[str, ...] = ()
    folder: str = field(default="", compare=False)
    published: Published | None = None
    reuse: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    notices: tuple[str, ...] = field(default=(), compare=False)
    imports: bool = field(default=True, compare=False)  # whether code of the user's may be imported

    @property
    def trainable(self) -> str:
        return self.method.trainable

    @property
    def spec(self) -> Any:
        return self.method.spec

    @property
    def has_trainable(self) -> bool:
        """Whether the trainable is loaded, not a dry run's stand-in."""
        return not isinstance(self.module, UnimportedTrainable)

    @property
    def module(self) -> Trainable:
        return self.method.module

    def resolved(self) -> str:
        """The space as YAML with each default filled in; reading it returns this space."""
        tree = {
            "name": self.name,
            "trainable": self.trainable,
            **self.spec.model_dump(mode="json"),
            "design": self.design.model_dump(mode="json", by_alias=True, exclude_none=True),
            "resources": self.resources.model_dump(mode="json"),
            **({"tracking": list(self.tracking)} if self.tracking else {}),
            **({"limits": limits} if (limits := self.limits.model_dump(exclude_none=True)) else {}),
            **({"reuse": list(self.reuse)} if self.reuse else {}),
            **({"published": self.published.model_dump(mode="json")} if self.published else {}),
        }
        return to_yaml(tree)


def refuse_limited_search(where: str, space: Space) -> None:
    """Raise UserError where a search has limits: its total use is not metered."""
    if space.design.searches() and space.limits.model_dump(exclude_none=True):
        raise UserError(
            f"{where}: not allowed with design.kind {space.design.kind}; bound a search by its number of arms"
        )


def load_space(file: Path | str, overrides: Sequence[str] = (), imports: bool = True) -> Space:
    """Read and check a space file.

    Without `imports`, no code of the user's is imported: of a custom trainable, only the space is
    checked.

    Raises UserError with a message that names file, key and what is allowed.
    """
    return parse_space(str(file), _read(Path(file)), overrides, _folder_of(Path(file).absolute().parent), imports)


def _folder_of(parent: Path) -> str:
    """The folder of a space's code: for a space in a run folder, the folder that its plan names."""
    try:
        plan = read_sealed_json(read_file(parent / PLAN), str(parent / PLAN))
        folder = Path(schemas.check(schemas.Plan, plan, str(parent / PLAN)).get("space_folder") or parent)
        return str(folder if folder.is_dir() else parent)
    except (OSError, DamagedError, UserError):
        return str(parent)


def _read(file: Path) -> bytes:
    try:
        return run_with_timeout(LIMIT_SECONDS, lambda: read_file(file))
    except TimeoutError as error:  # a pipe without a writer, an unreachable file system
        raise UserError(f"{file}: cannot be read: {error}") from error


def parse_space(
    file: str, content: bytes, overrides: Sequence[str] = (), folder: str = "", imports: bool = True
) -> Space:
    """The space in the content of a file, which errors call `file` and which is from `folder`."""
    tree = read_tree(file, content, overrides)
    module = _trainable(file, tree, folder, imports)
    spec_model = module.Spec
    allowed = [*SPACE_KEYS, *spec_model.model_fields]
    for key in tree:
        if key not in allowed:
            raise UserError(f"{file}: {unknown_key(key, allowed)}")
    if "published" in tree:
        tree["published"] = published_numbers(file, tree["published"])
    outline = validated(file, SharedKeys, {key: tree[key] for key in SPACE_KEYS if key in tree})
    spec = validated(file, spec_model, {key: value for key, value in tree.items() if key not in SPACE_KEYS})
    method = Method(trainable=outline.trainable, module=module, spec=spec, file=file)
    shared = {key: value for key, value in outline if key != "trainable"}
    space = Space(method=method, folder=folder, imports=imports, **shared)
    if space.resources.workers and not module.WORKERS:
        raise UserError(
            f"{file}: resources.workers: {space.resources.workers} is not allowed: {space.trainable} starts its own "
            "processes; it must be 0"
        )
    if not space.resources.gpus_per_trial and (space.limits.gpu_hours or space.limits.cost):
        key = "gpu_hours" if space.limits.gpu_hours else "cost"
        raise UserError(f"{file}: limits.{key}: is of GPUs, and resources.gpus_per_trial is 0; use limits.hours")
    space.design.check_crossed(space.method)
    if space.published and space.design.across:
        raise UserError(f"{file}: published: not allowed with design.across: its numbers are of one data set")
    space.design.check(space.method)
    refuse_limited_search(f"{file}: limits", space)
    if space.design.searches() and (by_block := space.module.block_patch(space.spec, 0)):
        raise UserError(
            f"{file}: {', '.join(by_block)}: block is not allowed with design.kind {space.design.kind}, which searches "
            "on one seed; name a seed"
        )
    return space


def _trainable(file: str, tree: Mapping[str, Any], folder: str, imports: bool) -> Trainable:
    name = tree.get("trainable", DEFAULT)
    settings = {key: value for key, value in tree.items() if key not in SPACE_KEYS}
    try:
        if not isinstance(name, str) or not name:
            raise TypeError("it must be a name")
        if name not in BUILT_IN and not imports and not is_registered(name):
            check_exists(name, folder)
            stand_in: Any = UnimportedTrainable(name, settings, tree.get("design"))
            module: Trainable = stand_in
        else:
            module = load_trainable(name, settings, folder, imports)
        if not hasattr(module, "Spec"):
            raise AttributeError("it has no Spec")
    except (ImportError, AttributeError, TypeError) as error:
        allowed = ", ".join(BUILT_IN)
        raise UserError(
            f"{file}: trainable: {name!r} is none of {allowed}, nor a module with a Spec, nor a function "
            f"(package.module:function): {error}"
        ) from error
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
    return module
