"""The limits on the size of modules and functions, and documentation that covers what it says it covers."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]
MODULES = sorted((REPOSITORY / "vae_jax").rglob("*.py"))
MAX_MODULE_LINES, MAX_FUNCTION_LINES = 400, 60


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_modules_and_functions_are_short_and_documented(path: pathlib.Path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name


def fields(config, prefix=""):
    for name, value in config.items():
        yield from fields(value, f"{prefix}{name}.") if hasattr(value, "items") else [f"{prefix}{name}"]


@pytest.mark.parametrize("name", ["anthems", "post", "smoke"])
def test_every_field_of_a_config_is_documented(name: str):
    documented = set(re.findall(r"`([\w.]+)", (REPOSITORY / "docs/configuration.md").read_text(encoding="utf-8")))
    config = importlib.import_module(f"configs.{name}").get_config()
    shared = ("composer.optimizer.", "composer.train.")  # The same fields as those of the first stage.
    found = {field.replace("composer.", "", 1) if field.startswith(shared) else field for field in fields(config)}
    found -= {"representation.name", "model.name"}
    assert found - documented == set()


def test_links_of_the_documentation_lead_somewhere():
    for page in [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").rglob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)  # Without code.
        for target in re.findall(r"\]\(([^)#]+)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) < 90
