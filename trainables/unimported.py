"""A stand-in for a trainable in the user's code: dry runs plan with it, without an import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from branchwise.run_files.columns import Column, PlotSpec
from branchwise.trainables.columns import OUTCOME
from branchwise.trainables.function import FunctionOptions
from branchwise.trainables.metrics import columns, curves
from branchwise.trainables.runtime.loading import DEFAULTS

UNKNOWN = "not known: nothing was imported"  # the value of a setting that the space does not give


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UnimportedTrainable:
    """Accepts each setting that the space names; the start of a run checks settings and values."""

    def __init__(self, name: str, settings: Mapping[str, Any], design: Any) -> None:
        """Take the name of a module or function, the space's keys, and its `design` as written."""
        self._name, self._settings = name, settings
        design = _mapping(design)
        section = "method" if "method" in settings else "settings"
        tree: dict[str, Any] = {section: {}, "baselines": {"name": ""}, **settings}
        for key, value in _patched(design):
            *sections, last = (key if "." in key else f"{section}.{key}").split(".")
            node = tree
            for part in sections:
                node[part] = node = dict(_mapping(node.get(part)))
            node.setdefault(last, value)
        fields: dict[str, Any] = {}
        if ":" in name:
            fields["function"] = (FunctionOptions, ...)
            tree.pop("function", None)
        self.Spec = _model("Spec", tree, fields)
        self.BASELINES: Mapping[str, Mapping[str, Any]] = {
            item: {"baselines.name": item} for item in _names(design.get("baselines"))
        }
        self._outcomes = [*_names(design.get("outcomes")), *_names(design.get("objectives"))]
        for attribute, default in DEFAULTS.items():
            if not hasattr(type(self), attribute) and attribute not in self.__dict__:
                setattr(self, attribute, default)

    @property
    def COLUMNS(self) -> Sequence[Column]:  # noqa: N802
        if ":" in self._name:
            options = FunctionOptions.model_validate(self._settings.get("function"))
            return columns(options.metric, options, options.outcomes)
        outcome_names = {column.name for column in OUTCOME}
        others = (name.partition("@")[0] for name in self._outcomes)
        return (*OUTCOME, *(Column(name=name, searchable=True, claimable=True)
                            for name in dict.fromkeys(others) if name not in outcome_names))  # fmt: skip

    @property
    def LINES(self) -> Sequence[PlotSpec]:  # noqa: N802
        return curves("value")

    def describe(self, spec: Any) -> Sequence[tuple[str, str]]:
        return (
            ("trainable", f"{self._name}: not imported by a dry run; its settings are checked when the run starts"),
        )


def _patched(design: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return the settings that components, data sets and searches change, at unchanged values."""
    for component in map(_mapping, _mapping(design.get("components")).values()):
        levels = _mapping(component.get("levels"))
        patches = [patch for patch in levels.values() if isinstance(patch, Mapping)]
        full = levels.get(component.get("full"), patches[-1]) if patches else {}
        for patch in [full, *patches, _mapping(component.get("off"))]:
            for key in patch:
                yield str(key), full.get(key, UNKNOWN)
    for across, values in _mapping(design.get("across")).items():
        by_name = isinstance(values, Mapping)
        for key in [key for patch in values.values() for key in _mapping(patch)] if by_name else [across]:
            yield str(key), UNKNOWN
    for key in _mapping(design.get("knobs")):
        yield str(key), UNKNOWN


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _names(items: Any) -> list[str]:
    return [item for item in items if isinstance(item, str)] if isinstance(items, list | Mapping) else []


def _model(title: str, tree: Mapping[str, Any], fields: dict[str, Any]) -> type[BaseModel]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in value):
            section = _model(name, value, {})
            fields[name] = (section, section())
        else:
            fields[name] = (Any, value)
    return create_model(title, __base__=_Section, **fields)
