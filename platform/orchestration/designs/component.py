"""A component of the method: the settings that switch it off, or those of each level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from branchwise.analysis.declared.cells import BASE, DEFAULTS, FULL, TEACHER
from branchwise.analysis.declared.factors import OFF, Factor
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError
from branchwise.trainables.runtime.settings import Strict, as_yaml, bare_key

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Patch = Annotated[dict[str, Any], Field(min_length=1)]


class Component(Strict):
    """Either `off`, the settings without the component, or `levels`, compared with `reference`.

    `full` is the level that the space itself has, by default the last one. `label` is for tables and plots.
    """

    off: Patch | None = None
    levels: Annotated[dict[Name, Patch], Field(min_length=2, max_length=12)] | None = None
    reference: Name | None = None
    full: Name | None = None
    label: Annotated[str, StringConstraints(min_length=1, max_length=60)] | None = None

    @model_validator(mode="after")
    def _check_form(self) -> Component:
        if (self.off is None) == (self.levels is None):
            raise ValueError("give either off or levels")
        if self.levels is None:
            if self.reference or self.full:
                raise ValueError("reference and full go with levels; a component with off has the levels off and on")
            return self
        if self.reference not in self.levels:
            raise ValueError(f"reference must be one of the levels {', '.join(self.levels)}")
        if self.full is not None and self.full not in self.levels:
            raise ValueError(f"full must be one of the levels {', '.join(self.levels)}")
        if self._full == self.reference:
            raise ValueError(f"reference {self.reference} is the full level, too; they must differ")
        return self

    @property
    def _full(self) -> str:
        return self.full or list(self.levels or {})[-1]

    def factor(self, name: str) -> Factor:
        label = self.label or ""
        if self.levels is None:
            return Factor(name=name, label=label)
        return Factor(
            name=name, levels=tuple(self.levels), reference=str(self.reference), full=self._full,
            doses=_doses(self.levels), label=label,
        )  # fmt: skip

    def patch(self, level: str) -> Mapping[str, Any]:
        """The settings in which a level differs from the space: none at the full level."""
        if self.off is not None:
            return self.off if level == OFF else {}
        return {} if level == self._full or self.levels is None else self.levels[level]

    def settings(self) -> set[str]:
        """The settings that it changes."""
        patches = [self.off] if self.off is not None else list((self.levels or {}).values())
        return {key for patch in patches for key in patch}

    def check(self, name: str, method: Method) -> None:
        """Refuse a name that another row has, or a level that does not fit this space.

        Raises UserError.
        """
        taken = [FULL, BASE, DEFAULTS, TEACHER, *method.module.BASELINES]
        if name in taken:
            raise UserError(
                f"{method.file}: design.components: {name!r} is not allowed: {', '.join(taken)} name other rows"
            )
        where = f"design.components.{name}"
        if self.off is not None:
            for key, value in self.off.items():
                if as_yaml(method.current(f"{where}.off", key)) == value:
                    raise UserError(
                        f"{method.file}: {where}.off: {key}: {value} equals the current value; choose another"
                    )
            return
        for level, patch in (self.levels or {}).items():
            space_settings = {key: as_yaml(method.current(f"{where}.levels.{level}", key)) for key in patch}
            if level == self._full and space_settings != patch:
                raise UserError(
                    f"{method.file}: {where}.levels.{level}: {_described(patch)} is not allowed: the full level is the "
                    f"space's own settings, {_described(space_settings)}; change them, or name another level as `full`"
                )
            if level != self._full and space_settings == patch:
                raise UserError(
                    f"{method.file}: {where}.levels.{level}: {_described(patch)} equals the current value, which is "
                    f"the level {self._full}; choose another"
                )


def check_disjoint(components: Mapping[str, Component], method: Method) -> None:
    """Check that each setting, however written, belongs to one component.

    Otherwise cells would coincide, or the order of the components would decide. Raises UserError.
    """
    owners: dict[str, tuple[str, str]] = {}
    for name, component in components.items():
        for key in sorted(component.settings()):
            full = bare_key(key)
            for taken, (owner, written) in owners.items():
                if f"{full}.".startswith(f"{taken}.") or f"{taken}.".startswith(f"{full}."):
                    raise UserError(
                        f"{method.file}: design.components.{name}: {key} is what design.components.{owner} sets by "
                        f"{written} already: a setting belongs to one component, written in one way"
                    )
            owners[full] = (name, key)


def _doses(levels: Mapping[str, Mapping[str, Any]]) -> tuple[float, ...]:
    """The values of the only setting in which the levels differ.

    Empty unless it is numeric and there are at least three levels.
    """
    keys = {key for patch in levels.values() for key in patch}
    values = [value for patch in levels.values() for value in patch.values()]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if len(keys) != 1 or not numeric or len(levels) < 3 or len(set(values)) < len(levels):
        return ()
    return tuple(float(value) for value in values)


def _described(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in settings.items())
