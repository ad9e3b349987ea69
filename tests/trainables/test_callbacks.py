"""docs/lightning.md and docs/hugging-face.md work unchanged: a tiny model on the CPU with the real packages."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from branchwise.trainables import Arm, Context, Result, load_trainable

pytestmark = pytest.mark.long(30)
PAGES = {"lightning": "lightning", "hugging-face": "transformers"}
numbers = itertools.count()


def run(root: Path, page: str, folder: Path, **given: Any) -> tuple[Result, list[dict[str, Any]]]:
    pytest.importorskip(PAGES[page])
    code, space = re.findall(r"```(?:python|yaml)\n(.*?)```", (root / f"docs/{page}.md").read_text(), re.DOTALL)
    name = f"callback_page_{next(numbers)}"
    (folder / f"{name}.py").write_text(code)
    keys = {key: value for key, value in yaml.safe_load(space).items() if key in ("function", "settings")}
    trainable = load_trainable(f"{name}:train", keys, str(folder))
    results: dict[str, Result] = {}
    reports: list[dict[str, Any]] = []
    (folder / "scratch").mkdir()
    context = Context(
        rank=0,
        world_size=1,
        device="cpu",
        threads=1,
        scratch=folder / "scratch",
        teacher=None,
        report=lambda report: reports.append(dict(report)),
        save=lambda content: None,
        load=lambda: None,
        finish=lambda arm, result, model: results.update({arm.name: result}),
        **given,
    )
    trainable.run_cohort([Arm(name="arm", seed=1, spec=trainable.Spec.model_validate(keys))], context)
    return results["arm"], reports


@pytest.mark.parametrize("page", PAGES)
def test_metrics_are_reported_by_step(root: Path, tmp_path: Path, page: str) -> None:
    result, reports = run(root, page, tmp_path)
    assert result.status == "done"
    metric = result.values["metric"]
    rows = [row for row in result.tables["curves"] if metric in row]
    assert [row["step"] for row in rows][:2] == [8, 16] if page == "lightning" else [4, 8]
    assert rows[-1][metric] == pytest.approx(result.values["value"], rel=1e-3)
    assert reports[-1]["step"] == reports[-1]["steps"]


@pytest.mark.parametrize("page", PAGES)
def test_arm_that_is_behind_stops_trainer(root: Path, tmp_path: Path, page: str) -> None:
    result, reports = run(root, page, tmp_path, rungs=(2,), should_continue=lambda arm, step, value: False)
    assert result.status == "stopped"
    assert "rung_value" in result.values
    assert reports[-1]["step"] < reports[-1]["steps"]  # it did not train to its end
