"""One page of a run to look at and to listen to: `report.html`, a single file that needs no network.

The page is made of what lies in the run's folder, so that it can be made again without the corpus and without
training; what the folder lacks, its section says. Sound is made in the page from the notes. `template/` holds the
page's own text, style and scripts.
"""

from __future__ import annotations

from vae_jax.models.inference import Inference
from vae_jax.report import figures, latent_walks, page, pieces, run_record
from vae_jax.runtime import files
from vae_jax.training.run_dir import RunFolder


def write_report(folder: RunFolder, inference: Inference | None) -> int:
    """Writes the page of a run.

    Args:
      folder: the run's folder.
      inference: its trained model, to decode what lies between tunes; None where there is no checkpoint.

    Returns:
      The size of the page in bytes.

    Raises:
      UserError: where a file of the run is damaged, or the page cannot be written.
    """
    run = run_record.read_record(folder)
    shelf = pieces.read_pieces(run)
    latent_map = latent_walks.map_run(run, len(shelf.pieces))
    html = page.render(
        figures.describe(run, shelf),
        {
            "pieces": shelf.packed(latent_map),
            "samples": pieces.pack_folder(folder.samples, folder),
            "compositions": pieces.pack_folder(folder.compositions, folder),
            "interpolations": latent_walks.interpolations(inference, shelf),
            "grid": latent_walks.grid(inference, run, latent_map),
            **figures.curves(run),
        },
    )
    data = html.encode("utf-8", "replace")
    files.write_bytes(folder.report, data)
    return len(data)
