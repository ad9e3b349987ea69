"""The method that a space varies: a trainable with the space's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import brief, describe_error, keys_at
from branchwise.run_files.arm_kinds import Kind
from branchwise.trainables import Arm, Trainable
from branchwise.trainables.runtime.settings import patched, section_of, setting


@dataclass(frozen=True)
class TeacherAddress:
    """The keys of a teacher and of what its evaluation depends on."""

    key: str
    evaluation: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """A trainable with a space's settings, which are validated once for each patch.

    Attributes:
        trainable: The name of the trainable.
        module: The trainable.
        spec: The settings of the space.
        file: The name of the space in errors.
    """

    trainable: str
    module: Trainable = field(compare=False)
    spec: BaseModel
    file: str = field(compare=False)
    _patched: dict[str, BaseModel] = field(default_factory=dict, compare=False, repr=False)
    _teachers: dict[str, TeacherAddress | None] = field(default_factory=dict, compare=False, repr=False)

    def patched(self, patch: Mapping[str, Any]) -> Any:
        """The settings with `patch` laid over them. Raises pydantic.ValidationError and KeyError."""
        key = repr(sorted(patch.items()))
        if key not in self._patched:
            self._patched[key] = patched(self.spec, patch) if patch else self.spec
        return self._patched[key]

    def laid_over(self, patch: Mapping[str, Any], file: str) -> Method:
        """Return the method with `patch` applied to its settings; errors call it `file`."""
        return replace(self, spec=self.patched(patch), file=file, _patched={}, _teachers={})

    def in_block(self, patch: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """`patch` with the settings that follow from the seed of an arm's block."""
        return {**patch, **self.module.block_patch(self.patched(patch), seed)}

    def teacher(self, patch: Mapping[str, Any]) -> TeacherAddress | None:
        """The teacher of the settings with `patch` laid over them; None when they need none.

        Raises UserError when it is named but missing.
        """
        key = repr(sorted(patch.items()))
        if key not in self._teachers:
            spec = self.patched(patch)
            try:
                result = self.module.teacher_key(spec)
            except (OSError, ValueError) as error:
                raise UserError(str(error)) from error
            self._teachers[key] = None if result is None else TeacherAddress(result, self.module.evaluation_key(spec))
        return self._teachers[key]

    def cohort_key(self, arm: Arm) -> str:
        """The key of the arms that may train together with `arm`.

        It is equal for arms that the trainable lets train together, that have one teacher and the
        same evaluation, and that are on one data set, which has separate seeds.
        """
        return repr((self.module.cohort_key(arm.spec), self.teacher(arm.patch), sorted(arm.across.items())))

    def check_comparable(self, where: str, patch: Mapping[str, Any]) -> None:
        """Check that values under `patch` compare with the others.

        Raises UserError, naming `where` in the file, otherwise.
        """
        if self._comparable(patch):
            return
        incomparable = {key: value for key, value in patch.items() if not self._comparable({key: value})}
        message = ", ".join(f"{key}: {brief(value)}" for key, value in (incomparable or patch).items())
        raise UserError(
            f"{self.file}: {where}: {message} is not allowed: it changes how values are measured, so that they could "
            "not be compared with those of the space's own settings"
        )

    def _comparable(self, patch: Mapping[str, Any]) -> bool:
        try:
            changed = self.patched(patch)
        except ValidationError:  # a part of a patch, which is allowed as a unit
            return True
        try:
            return self.module.comparability_key(changed) == self.module.comparability_key(self.spec)
        except (OSError, ValueError) as error:  # a feature function that is missing
            raise UserError(f"{self.file}: {error}") from error

    def check_patch(self, where: str, patch: Mapping[str, Any]) -> None:
        """Check that settings are allowed; raise UserError, naming `where` in the file, otherwise."""
        try:
            self.patched(patch)
        except ValidationError as error:
            message = describe_error(error.errors()[0], type(self.spec), self.spec.model_dump(mode="json"))
            raise UserError(f"{self.file}: {where}: {message}") from error

    def current(self, where: str, key: str) -> Any:
        """The space's value of a setting. Raises UserError, naming `where`, if it does not exist."""
        try:
            return setting(self.spec, key)
        except KeyError as error:
            section = section_of(type(self.spec))
            fields = ", ".join(keys_at(type(self.spec), [section]))
            raise UserError(
                f"{self.file}: {where}: there is no setting {key}; a bare key is one of {section}'s ({fields}), a "
                "dotted one starts at the top (train.lr)"
            ) from error

    def arm(
        self,
        *,
        name: str,
        kind: Kind,
        cell: str,
        block: int,
        seed: int,
        patch: Mapping[str, Any],
        components: Mapping[str, bool | str] | None = None,
        across: Mapping[str, str] | None = None,
    ) -> Arm:
        """The arm with these settings and those that follow from its seed.

        Arms of an equal patch share the settings.
        """
        patch = self.in_block(patch, seed)
        return Arm(
            name=name,
            kind=kind,
            cell=cell,
            block=block,
            seed=seed,
            components=components or {},
            across=across or {},
            patch=patch,
            spec=self.patched(patch),
            teacher=teacher.key if (teacher := self.teacher(patch)) else None,
        )
