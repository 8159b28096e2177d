"""The piano roll on the beat grid."""
