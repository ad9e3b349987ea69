"""A space: what to train, which parts of it to switch, how often, and with what resources."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Discriminator, Field, PositiveInt, StringConstraints, Tag, ValidationError

from branchwise.analysis.statistics.cells import BASE, FULL, TEACHER, cell_name
from branchwise.analysis.statistics.claims import parse_claim
from branchwise.orchestration.designs.knobs import Search, Tuning
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.monitoring.trackers import Tool
from branchwise.orchestration.space.messages import dotted, keys_at, unknown_key, validated
from branchwise.orchestration.space.yaml_file import read_file, read_tree
from branchwise.trainables import BUILT_IN, Trainable, load_trainable
from branchwise.trainables.runtime.settings import Many, Strict, patched, setting

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
MOST_ARMS = 100_000
OWN_KEYS = ("name", "trainable", "design", "resources", "tracking")  # the others belong to the trainable


class Component(Strict):
    """A part of the method and the settings that switch it off."""

    off: Annotated[dict[str, Any], Field(min_length=1)]


class _Ablation(Strict):
    """Components to switch off, students to compare with, and what is claimed beforehand."""

    kind: str
    components: Annotated[dict[Word, Component], Field(min_length=1, max_length=6)]
    baselines: Many[str] = ()
    claims: Many[str] = ()

    def settings(self) -> list[str]:
        """The settings in which the arms differ."""
        return sorted({key for component in self.components.values() for key in component.off})

    def cells(self) -> Iterator[tuple[str, dict[str, bool]]]:
        """Each cell's name and which components it has on; full first, base last."""
        for states in itertools.product((True, False), repeat=len(self.components)):
            if self.kind == "leave_one_out" and states.count(False) > 1:
                continue
            on = dict(zip(self.components, states, strict=True))
            yield cell_name([name for name, state in on.items() if state], list(on)), on


class Design(_Ablation):
    """Cells by blocks. `factorial` runs all 2^k cells; `leave_one_out` the full method and each component's absence."""

    kind: Literal["factorial", "leave_one_out"] = "factorial"
    blocks: PositiveInt = 3


class TunedFactorial(Tuning, _Ablation):
    """The fair factorial: every cell has a study of its own, of equal budget, before it meets the fresh seeds.

    On those seeds each cell runs twice: with the space's own settings, and with the best its study found.
    """

    kind: Literal["tuned_factorial"]

    def settings(self) -> list[str]:
        """The settings in which the arms differ."""
        return sorted({*super().settings(), *self.space})


TunedDesign = Search | TunedFactorial


class Resources(Strict):
    """What one trial takes. `workers` 0 trains inside the Tune actor, N >= 1 on N Ray Train workers."""

    cpus_per_trial: PositiveInt = 1
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0.0
    workers: Annotated[int, Field(ge=0)] = 0
    max_concurrent: PositiveInt | Literal["auto"] = "auto"
    arms_per_trial: PositiveInt | Literal["auto"] = "auto"
    max_retries: Annotated[int, Field(ge=0, le=100)] = 2


class _Outline(Strict):
    """The keys of a space that every trainable shares."""

    name: Name
    trainable: str = "dash"
    design: Annotated[
        Annotated[Design, Tag("ablation")]
        | Annotated[Search, Tag("search")]
        | Annotated[TunedFactorial, Tag("tuned_factorial")],
        Discriminator(lambda value: _kind(value) if _kind(value) in ("search", "tuned_factorial") else "ablation"),
    ]
    resources: Resources = Resources()
    tracking: Many[Tool] = ()


def _kind(design: Any) -> Any:
    return design.get("kind") if isinstance(design, dict) else getattr(design, "kind", None)


@dataclass(frozen=True, kw_only=True)
class Space:
    name: str
    trainable: str
    spec: BaseModel
    design: Design | Search | TunedFactorial
    resources: Resources
    tracking: tuple[Tool, ...] = ()

    @property
    def module(self) -> Trainable:
        return load_trainable(self.trainable)

    def cohort_key(self, patch: Mapping[str, Any]) -> str:
        """Arms may train in one cohort where this is equal."""
        return str(self.module.cohort_key(patched(self.spec, patch)))

    def resolved(self) -> str:
        """The space as YAML with every default filled in; reading it gives this space again."""
        tree = {
            "name": self.name,
            "trainable": self.trainable,
            **self.spec.model_dump(mode="json"),
            "design": self.design.model_dump(mode="json", by_alias=True, exclude_none=True),
            "resources": self.resources.model_dump(mode="json"),
            **({"tracking": list(self.tracking)} if self.tracking else {}),
        }
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def load_space(file: Path | str, overrides: Sequence[str] = ()) -> Space:
    """Reads and checks a space file. Raises UserError with one sentence that names file, key and what is allowed."""
    return parse_space(str(file), read_file(Path(file)), overrides)


def parse_space(file: str, content: bytes, overrides: Sequence[str] = ()) -> Space:
    """The space in the content of a file, which errors call `file`."""
    tree = read_tree(file, content, overrides)
    spec_model = _spec_model(file, tree.get("trainable", "dash"))
    allowed = [*OWN_KEYS, *spec_model.model_fields]
    for key in tree:
        if key not in allowed:
            raise UserError(f"{file}: {unknown_key(key, allowed)}")
    outline = validated(file, _Outline, {key: tree[key] for key in OWN_KEYS if key in tree})
    spec = validated(file, spec_model, {key: value for key, value in tree.items() if key not in OWN_KEYS})
    space = Space(
        name=outline.name,
        trainable=outline.trainable,
        spec=spec,
        design=outline.design,
        resources=outline.resources,
        tracking=outline.tracking,
    )
    _check_design(file, space)
    return space


def _spec_model(file: str, trainable: Any) -> type[BaseModel]:
    try:
        model: type[BaseModel] = load_trainable(trainable).Spec
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        known = ", ".join(BUILT_IN)
        raise UserError(
            f"{file}: trainable: {trainable!r} is none of {known}, nor a module with a Spec ({error})"
        ) from error
    return model


def _check_design(file: str, space: Space) -> None:
    design = space.design
    if not isinstance(design, Search):
        _check_ablation(file, space, design)
    if isinstance(design, Tuning):
        _check_tuning(file, space, design)


def _check_ablation(file: str, space: Space, design: Design | TunedFactorial) -> None:
    cells = dict(design.cells())
    each = design.trials * len(cells) if isinstance(design, TunedFactorial) else 0
    arms = each + design.blocks * (len(cells) + len(design.baselines))
    if arms > MOST_ARMS:
        raise UserError(f"{file}: design.blocks: {design.blocks} makes {arms} arms; {MOST_ARMS} are allowed")
    for name, component in design.components.items():
        where = f"{file}: design.components.{name}.off"
        if name in (taken := [FULL, BASE, TEACHER, *space.module.BASELINES]):
            raise UserError(f"{file}: design.components: {name!r} is not allowed: {', '.join(taken)} name other rows")
        for key, value in component.off.items():
            try:
                unchanged = setting(space.spec, key) == value
            except KeyError as error:
                raise UserError(f"{where}: {_no_setting(space, key)}") from error
            if unchanged:
                raise UserError(f"{where}: {key}: {value} is what the space has already, so this changes nothing")
    for cell, on in cells.items():
        _check_patch(f"{file}: design.components: the cell {cell}", space, cell_patch(design, on))
    baselines = space.module.BASELINES
    for index, baseline in enumerate(design.baselines):
        if baseline not in baselines or baseline in design.baselines[:index]:
            allowed = ", ".join(baselines)
            raise UserError(f"{file}: design.baselines: {baseline!r} is not allowed: each at most once of {allowed}")
        _check_patch(f"{file}: design.baselines: {baseline}", space, baselines[baseline])
    rows = [*cells, *design.baselines, TEACHER]
    for index, claim in enumerate(design.claims):
        try:
            parse_claim(claim, list(design.components), rows)
        except ValueError as error:
            raise UserError(f"{file}: design.claims[{index}]: {error}") from error


def _check_tuning(file: str, space: Space, design: TunedDesign) -> None:
    for key, knob in design.space.items():
        where = f"{file}: design.space.{key}"
        try:
            setting(space.spec, key)
        except KeyError as error:
            raise UserError(f"{where}: {_no_setting(space, key)}") from error
        for value in knob.ends():
            _check_patch(where, space, {key: value})
        for other in knob.when:
            if other not in list(design.space)[: list(design.space).index(key)]:
                raise UserError(f"{where}.when: {other} is not allowed: it must be a knob listed before this one")
    for index, start in enumerate(design.start):
        for key in start:
            if key not in design.space:
                raise UserError(f"{file}: design.start[{index}]: {unknown_key(key, list(design.space))}")
        _check_patch(f"{file}: design.start[{index}]", space, start)
    if isinstance(design, TunedFactorial):
        for cell, on in design.cells():
            if not design.space.keys() - cell_patch(design, on).keys():
                raise UserError(
                    f"{file}: design.space: the components switch off every knob of the cell {cell}, so there is "
                    "nothing to tune in it; add a knob that they leave alone (train.lr)"
                )


def _no_setting(space: Space, key: str) -> str:
    fields = ", ".join(keys_at(type(space.spec), ["method"]))
    return (
        f"no setting is called {key}; a bare key is one of method's ({fields}), a dotted one starts on top (train.lr)"
    )


def cell_patch(design: Design | TunedFactorial, on: Mapping[str, bool]) -> dict[str, Any]:
    """The settings that make the full method into the cell with these components on."""
    off: dict[str, Any] = {}
    for name, component in design.components.items():
        if not on[name]:
            off.update(component.off)
    return off


def _check_patch(where: str, space: Space, patch: Mapping[str, Any]) -> None:
    try:
        patched(space.spec, patch)
    except ValidationError as error:
        first = error.errors()[0]
        tree = space.spec.model_dump(mode="json")
        raise UserError(f"{where}: {dotted(first['loc'], tree)}: {first['msg']}, not {first['input']!r}") from error
