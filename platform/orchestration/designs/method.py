"""The method that a space varies: a trainable with the space's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import brief, keys_at, sentence
from branchwise.trainables import Arm, Trainable, load_trainable
from branchwise.trainables.contract import Kind
from branchwise.trainables.runtime.settings import patched, setting


@dataclass(frozen=True, kw_only=True)
class Method:
    """`file` is what errors call the space. Settings are validated once for each patch."""

    trainable: str
    spec: BaseModel
    file: str = field(compare=False)
    _patched: dict[str, BaseModel] = field(default_factory=dict, compare=False, repr=False)

    @property
    def module(self) -> Trainable:
        return load_trainable(self.trainable)

    def patched(self, patch: Mapping[str, Any]) -> Any:
        """The settings with `patch` laid over them. Raises pydantic.ValidationError and KeyError."""
        key = repr(sorted(patch.items()))
        if key not in self._patched:
            self._patched[key] = patched(self.spec, patch) if patch else self.spec
        return self._patched[key]

    def check_patch(self, where: str, patch: Mapping[str, Any]) -> None:
        """Raises UserError, naming `where` in the file, for settings that are not allowed."""
        try:
            self.patched(patch)
        except ValidationError as error:
            told = sentence(error.errors()[0], type(self.spec), self.spec.model_dump(mode="json"))
            raise UserError(f"{self.file}: {where}: {told}") from error

    def check_comparable(self, where: str, patch: Mapping[str, Any]) -> None:
        """Raises UserError, naming `where`, when values under `patch` cannot be compared with those of the space."""
        own, other = self.module.comparability(self.spec), self.module.comparability(self.patched(patch))
        for key in own:
            if other.get(key) != own[key]:
                raise UserError(
                    f"{self.file}: {where}: {key} must stay {brief(own[key])}, not become {brief(other.get(key))}: "
                    "values that are measured differently cannot be compared"
                )

    def current(self, where: str, key: str) -> Any:
        """The space's own value of a setting. Raises UserError, naming `where`, when there is none of that name."""
        try:
            return setting(self.spec, key)
        except KeyError as error:
            fields = ", ".join(keys_at(type(self.spec), ["method"]))
            raise UserError(
                f"{self.file}: {where}: there is no setting {key}; a bare key is one of method's ({fields}), a dotted "
                "one starts at the top (train.lr)"
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
    ) -> Arm:
        """The arm with these settings; arms of an equal patch share them."""
        return Arm(
            name=name,
            kind=kind,
            cell=cell,
            block=block,
            seed=seed,
            components=components or {},
            patch=patch,
            spec=self.patched(patch),
        )
