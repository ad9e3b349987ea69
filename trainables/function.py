"""A function as trainable: `def train(settings, seed) -> dict`.

The space names it: `package.module:train`.

Its settings are the fields of a pydantic model or of a dataclass, which annotates its parameter `settings`, or else its
own keyword parameters with defaults. Next to `seed` it may accept, by name, others of GIVEN.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from branchwise.run_files.columns import Column, PlotSpec
from branchwise.trainables.contract import Arm, Context
from branchwise.trainables.metrics import Declared, Name, by_column, columns, curves, not_taken
from branchwise.trainables.reporting import Reporter, Stopped
from branchwise.trainables.runtime.artifacts import keep_artifacts
from branchwise.trainables.runtime.settings import Strict

GIVEN = ("seed", "report", "folder", "checkpoints", "device")  # parameters that are no settings
_READ_AS_TYPED = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FunctionOptions(Declared):
    """The section `function` of a space: which of the returned numbers count, and how."""

    metric: str  # a key of the returned dict
    outcomes: dict[Name, Declared] = Field(default_factory=dict)  # further keys
    source: str = ""  # text of a function that a Python session defined, for the record

    @model_validator(mode="after")
    def _check_outcomes(self) -> FunctionOptions:
        not_taken(self.outcomes)
        return self


class FunctionTrainable:
    """Arms run in turn, each as a call in the worker's process."""

    WORKERS = False

    def __init__(self, function: Callable[..., Any], name: str, settings: Mapping[str, Any]) -> None:
        """Check that the parameters of the function can be filled; raise TypeError otherwise."""
        self._function, self._name, self._settings = function, name, settings
        self._accepted = [given for given in GIVEN if given in inspect.signature(function).parameters]
        model, self._arguments = _settings_of(function, name)
        default: Any = ... if any(field.is_required() for field in model.model_fields.values()) else model()
        self.Spec = create_model("Spec", __base__=Strict, function=(FunctionOptions, ...), settings=(model, default))

    @property
    def _options(self) -> FunctionOptions:
        return FunctionOptions.model_validate(self._settings["function"])

    @property
    def COLUMNS(self) -> Sequence[Column]:  # noqa: N802
        options = self._options
        return columns(options.metric, options, options.outcomes)

    @property
    def LINES(self) -> Sequence[PlotSpec]:  # noqa: N802
        return curves(self._options.metric)

    def describe(self, spec: Any) -> Sequence[tuple[str, str]]:
        return (("function", self._name), ("metric", spec.function.described(spec.function.metric)))

    def cohort_key(self, spec: Any) -> None:
        """None: running arms together has no benefit."""

    def run_cohort(self, arms: Sequence[Arm], context: Context) -> None:
        for arm in arms:
            self._run(arm, context)

    def _run(self, arm: Arm, context: Context) -> None:
        options: FunctionOptions = arm.spec.function
        reporter = Reporter(arm, context, options.metric, options)
        folder, checkpoints = context.scratch / arm.name, context.workspace(arm) / "checkpoints"
        folder.mkdir()
        checkpoints.mkdir(exist_ok=True)
        given = {
            "seed": arm.seed,
            "report": reporter,
            "folder": folder,
            "checkpoints": checkpoints,
            "device": context.device,
        }
        try:
            returned = self._function(
                **self._arguments(arm.spec.settings), **{name: given[name] for name in self._accepted}
            )
        except Stopped:
            returned = None
        if reporter.stopped:
            reporter.finish_stopped()
            return
        try:
            values = self._values(options, returned)
        except (TypeError, ValueError) as error:
            reporter.fail(str(error))
            return
        stored = context.scratch / f"{arm.name}.kept"
        if notes := keep_artifacts(folder, stored):
            context.log(arm, "".join(f"--- {note}\n" for note in notes))
        reporter.finish(values, stored if any(stored.iterdir()) else None)

    def _values(self, options: FunctionOptions, returned: Any) -> dict[str, float]:
        """The values by column. Raises TypeError or ValueError saying what is wrong with them."""
        if not isinstance(returned, Mapping):
            raise TypeError(f"{self._name} returned {returned!r}; it must return a dict with {options.metric!r}")
        values = {}
        for column, (metric, declared) in by_column(options.metric, options, options.outcomes).items():
            if metric not in returned:
                raise ValueError(f"{self._name} returned no {metric!r}; it returned {', '.join(map(str, returned))}")
            values[column] = declared.check(metric, returned[metric])
        return values


def _settings_of(
    function: Callable[..., Any], name: str
) -> tuple[type[BaseModel], Callable[[BaseModel], Mapping[str, Any]]]:
    """The model of a function's settings, and how its values become arguments. Raises TypeError."""
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    if "settings" not in parameters:
        definition = {key: parameter for key, parameter in parameters.items() if key not in GIVEN}
        for key, item in definition.items():
            if item.default is item.empty:
                raise TypeError(
                    f"{name}: parameter {key} has no default; each but {', '.join(GIVEN)} is a setting and needs one"
                )
        fields: dict[str, Any] = {
            key: (hints.get(key, type(entry.default)), entry.default) for key, entry in definition.items()
        }
        return create_model("Settings", __config__=_READ_AS_TYPED, **fields), _fields
    kind = hints.get("settings")
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return types.new_class(kind.__name__, (kind,), {}, _configured), lambda settings: {"settings": settings}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        created: type = kind
        hints_by_name = typing.get_type_hints(kind)
        fields = {
            entry.name: (hints_by_name[entry.name], _default(entry)) for entry in dataclasses.fields(kind) if entry.init
        }
        model = create_model(kind.__name__, __config__=_READ_AS_TYPED, **fields)
        return model, lambda settings: {"settings": created(**_fields(settings))}
    raise TypeError(f"{name}: its parameter `settings` must be annotated with a pydantic model or a dataclass")


def _configured(namespace: dict[str, Any]) -> None:
    namespace["model_config"] = _READ_AS_TYPED


def _fields(settings: BaseModel) -> dict[str, Any]:
    return {key: getattr(settings, key) for key in type(settings).model_fields}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory)
    return ...
