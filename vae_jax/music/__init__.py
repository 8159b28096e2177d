"""Scores: the note table, MIDI in and out, keys, instruments and quantization."""
