"""Statistics that a musician reads: of melody, bass, harmony, form and tracks, composed against real."""
