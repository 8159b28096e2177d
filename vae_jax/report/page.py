"""The page of a run, `report.html`: one file that needs no network, made from what the folder of the run holds.

It can be made again without the corpus and without training; a section says what it lacks. `template/` holds its
text, style and scripts. Sound is synthesised in the page. Everything that comes from files is escaped.
"""

import base64
import dataclasses
import hashlib
import importlib.resources
from collections.abc import Sequence

import jinja2

from vae_jax.models.inference import Inference
from vae_jax.music import audio, instruments
from vae_jax.report import artifacts, content, decoded_points, listening_test, pieces
from vae_jax.report.listening_test import NamedScore
from vae_jax.report.pieces import ReportPieces, RunRecord
from vae_jax.runtime import files
from vae_jax.runtime.files import Json
from vae_jax.runtime.text import quantity
from vae_jax.training.run_dir import RunFolder

# In the order of their dependencies.
SCRIPTS = tuple(
    f"{name}.js"
    for name in ("notes", "synth", "player", "roll", "music", "pieces", "listening", "map", "chart", "page")
)


def write_report(folder: RunFolder, inference: Inference | None) -> int:
    """Writes the page of a run and returns its size in bytes.

    The trained model decodes points between pieces; it is None where there is no checkpoint.

    Raises:
      UserError: where a file of the run is damaged, or the page cannot be written.
    """
    run = pieces.read_run(folder.path)
    corpus = pieces.read_pieces(run)
    latent_map = decoded_points.map_run(run, len(corpus.pieces))
    data = {
        "groups": instruments.PART_NAMES,
        "timbres": [dataclasses.asdict(one) for one in audio.TIMBRES],
        "pieces": corpus.pack(latent_map),
        "samples": pieces.pack_folder(folder.samples, folder),
        "compositions": pieces.pack_folder(folder.compositions, folder),
        "listening": _listening_test(run, corpus),
        "interpolations": decoded_points.interpolations(inference, corpus.pieces),
        "grid": decoded_points.grid(inference, run, latent_map),
        "log": run.log,
        "constants": artifacts.constant_losses(run.metrics),
    }
    page = render("report.html.j2", content.describe(run, corpus) | {"data": data}, SCRIPTS).encode("utf-8", "replace")
    files.write_bytes(folder.report, page)
    return len(page)


def _listening_test(run: RunRecord, corpus: ReportPieces) -> Json | None:
    real = [
        NamedScore(one.name, one.music["original"])
        for one in corpus.pieces
        if one.is_held_out and "original" in one.music
    ]
    composed = [
        NamedScore(pieces.display_name(name), score)
        for name, score, _ in pieces.read_folder(run.folder.compositions)
        if score
    ]
    return listening_test.make_test(real, composed, run.config["sample"]["seed"])


def render(template: str, variables: Json, scripts: Sequence[str]) -> str:
    """Renders a template of a page with its variables, the style, and scripts of `template/` by their names."""
    loader, undefined = jinja2.FunctionLoader(_read), jinja2.StrictUndefined
    environment = jinja2.Environment(
        loader=loader, undefined=undefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"printable": files.printable, "thousands": "{:,}".format, "quantity": quantity}
    # `tojson` escapes <, > and &, so that no text of a file can end the script that holds it.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    texts = [_read(name) for name in scripts]
    # A content security policy that allows these scripts only and no network: a second defence.
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in texts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    return environment.get_template(template).render(variables, style=_read("report.css"), scripts=texts, policy=policy)


def _read(name: str) -> str:
    return importlib.resources.files("vae_jax.report").joinpath("template", name).read_text(encoding="utf-8")
