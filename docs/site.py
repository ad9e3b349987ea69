"""Makes the documentation a site, and checks every link on the way: `python docs/site.py`, or `make docs`.

Pages are the files of docs/, and some that lie elsewhere: README, changelog and the like as they stand, the notebooks,
which are run, and the keys of a space, from its JSON Schema and the comments beside them in the code.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "docker/README.md": "containers.md",
    "examples/README.md": "examples.md",
    "AGENTS.md": "agents.md",
}
NOTEBOOKS = ("quickstart", "ablation", "search", "guidance")
SETTINGS = ("trainables/dash/settings", "trainables/command", "platform/orchestration", "trainables/runtime")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
# What the side of each page lists.
CONTENTS = {
    "Your own method": ["first-ablation", "own-script", "third-party-scripts", "own-trainable", "lightning",
                        "hugging-face", "own-images", "runs-elsewhere", "compare", "examples"],
    "Spaces": ["spaces", "spaces-dash", "spaces-command", "search-spaces", "screening", "data-sets", "add-seeds",
               "measure"],
    "Statistics": ["claims", "statistics", "decisions/intervals", "decisions/claims"],
    "Evidence": ["evidence/README", "evidence/claims", *(f"notebooks/{name}" for name in NOTEBOOKS)],
    "Machines and clusters": ["sizing", "gpu-workstation", "slurm", "kubernetes", "object-store", "containers"],
    "Reference": ["commands", "api", "run-folder", "paper", "glossary", "agents", "speed", "limits", "security",
                  "contributing", "changelog"],
    "Decisions": ["decisions/digits", "decisions/fashion", "decisions/paper-settings", "decisions/baselines",
                  "decisions/evaluation", "decisions/metrics", "decisions/ddim-parity", "decisions/tirt",
                  "decisions/rooms"],
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build/site", help="folder of the site (default build/site)")
    out = parser.parse_args(argv).out
    with tempfile.TemporaryDirectory() as scratch:
        pages = Path(scratch) / "pages"
        search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        os.environ["PYTHONPATH"] = search  # of the notebooks' kernels and Sphinx's processes
        lay_out(pages)
        shutil.rmtree(pages / "results", ignore_errors=True)
        sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "auto", "-d", f"{scratch}/trees"]
        code = subprocess.run([*sphinx, pages, out], check=False).returncode
    print(f"{out / 'index.html'}" if code == 0 else "the site was not made", file=sys.stderr if code else sys.stdout)
    return code


def lay_out(folder: Path) -> None:
    """Writes each page to `folder`, as Sphinx takes them."""
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copy(ROOT / "docs/conf.py", folder)
    for file in folder.rglob("*.md"):
        file.write_text(_relinked(f"docs/{file.relative_to(folder)}", file.read_text("utf-8")), "utf-8")
    shutil.copytree(folder / "images", folder / "extra/images")  # for the README's HTML, as it stands
    readme = (ROOT / "README.md").read_text("utf-8").replace('"docs/images', '"images')
    (folder / "index.md").write_text(_relinked("README.md", readme) + "".join(_contents()), "utf-8")
    for source, page in PAGES.items():
        (folder / page).write_text(_relinked(source, (ROOT / source).read_text("utf-8")), "utf-8")
    for name in ("dash", "command"):
        (folder / f"spaces-{name}.md").write_text(_keys(name), "utf-8")
    (folder / "notebooks").mkdir()
    for name in NOTEBOOKS:
        notebook = nbformat.read(ROOT / f"analysis/{name}.ipynb", as_version=4)
        # The quick start writes a run where it is executed; the others read those of the checkout, one from its root.
        start = {"quickstart": folder, "guidance": ROOT}.get(name, ROOT / "analysis")
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(start)}}).execute()
        nbformat.write(notebook, folder / f"notebooks/{name}.ipynb")


def _contents() -> Iterator[str]:
    for title, pages in CONTENTS.items():
        yield "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""])


def _relinked(source: str, text: str) -> str:
    """The text of a file of the repository with links to pages of the site; what has no page becomes its path."""
    current = os.path.dirname(_page_of(source) or "")

    def lead(result: re.Match[str]) -> str:
        label, target, anchor = result.groups(default="")
        if not target or ":" in target:
            return result[0]
        path = os.path.normpath(os.path.join(os.path.dirname(source), target))
        page = _page_of(path)
        return f"`{path}`" if page is None else f"[{label}]({os.path.relpath(page, current)}{anchor})"

    return LINK.sub(lead, text)


def _page_of(path: str) -> str | None:
    """What a file of the repository is called on the site; None where it is not on it."""
    if path.startswith("docs/") and (ROOT / path).is_file() and not path.endswith(".py"):
        return path.removeprefix("docs/")
    generated = {f"search_spaces/schemas/{name}.json": f"spaces-{name}.md" for name in ("dash", "command")}
    notebooks = {f"analysis/{name}.ipynb": f"notebooks/{name}.ipynb" for name in NOTEBOOKS}
    return {"README.md": "index.md", **PAGES, **generated, **notebooks}.get(path)


def _keys(trainable: str) -> str:
    """The page on the keys of a trainable's spaces."""
    schema = json.loads((ROOT / f"search_spaces/schemas/{trainable}.json").read_text("utf-8"))
    comments = dict(_comments())
    lines = [
        f"# Keys of a space for `{trainable}`",
        "",
        f"From the JSON Schema, which editors read and `branchwise schema {trainable}` prints. A key with a "
        "default need not be written.",
        "",
        *_table(schema, {}),
    ]
    for name in sorted(schema["$defs"]):
        lines += ["", f"## {name}", "", schema["$defs"][name].get("description", ""), ""]
        lines += _table(schema["$defs"][name], comments.get(name, {}))
    return "\n".join(lines)


def _table(schema: Mapping[str, Any], comments: Mapping[str, str]) -> Iterator[str]:
    required = schema.get("required", ())
    yield "| key | holds | default | what it is |"
    yield "| --- | --- | --- | --- |"
    for key, value in schema.get("properties", {}).items():
        default = "required" if key in required else _default(value.get("default"))
        description = " ".join((value.get("description") or comments.get(key, "")).split())
        yield (
            "| "
            + " | ".join(cell.replace("|", "\\|") for cell in (f"`{key}`", _holds(value), default, description))
            + " |"
        )


def _default(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value)
    return f"`{text}`" if len(text) < 40 else "as in its table"


def _holds(value: Mapping[str, Any]) -> str:
    """Describe the values of a key."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "enum" in value or "const" in value:
        return ", ".join(f"`{json.dumps(item)}`" for item in value.get("enum", [value.get("const")]))
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(map(_holds, value["anyOf"])))
    kind = value.get("type", "anything")
    if kind == "array":
        return f"list of {_holds(value.get('items', {}))}"
    if kind == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"mapping to {_holds(value['additionalProperties'])}"
    limit_names = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "above",
        "exclusiveMaximum": "below",
    }
    limits = [f"{limit_name} {value[limit]:g}" for limit, limit_name in limit_names.items() if limit in value]
    return ", ".join([{"null": "null"}.get(kind, kind), *limits])


def _comments() -> Iterator[tuple[str, dict[str, str]]]:
    """What is said next to the fields of each class of settings: class, then key."""
    for folder in SETTINGS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text("utf-8")
            lines = text.splitlines()
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef):
                    fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
                    yield (
                        node.name,
                        {
                            field.target.id: lines[(field.end_lineno or 1) - 1].partition("  # ")[2]
                            for field in fields
                            if isinstance(field.target, ast.Name)
                        },
                    )


if __name__ == "__main__":
    sys.exit(main())
