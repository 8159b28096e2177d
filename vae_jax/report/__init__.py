"""What a run shows: MIDI files, plots and the HTML page."""
