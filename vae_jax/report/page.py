"""The page itself: text, style and scripts of `template/` in one file, everything that comes from files escaped."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Mapping
from typing import Any

import jinja2

from vae_jax.music import instruments
from vae_jax.runtime.files import printable

# In the order in which they need one another.
SCRIPTS = ("notes.js", "synth.js", "player.js", "roll.js", "music.js", "pieces.js", "map.js", "chart.js", "page.js")


def render(words: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Renders the page.

    Args:
      words: what the template writes, from `figures.describe`.
      data: what the scripts draw and play; anything that JSON can hold.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    # `tojson` writes <, > and & as escapes, so that no text of a file ends the script that holds it.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    scripts = [_read(name) for name in SCRIPTS]
    return environment.get_template("report.html.j2").render(
        words,
        data=dict(data) | {"parts": list(instruments.PART_NAMES)},
        style=_read("report.css"),
        scripts=scripts,
        policy=_policy(scripts),
    )


def _read(name: str) -> str:
    return importlib.resources.files("vae_jax.report").joinpath("template", name).read_text(encoding="utf-8")


def _policy(scripts: list[str]) -> str:
    """Lets the browser run these scripts and no other, and fetch nothing: a second wall behind the escapes."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
