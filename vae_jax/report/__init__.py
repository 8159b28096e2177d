"""What a run writes to look at: MIDI files, plots and the HTML page."""
