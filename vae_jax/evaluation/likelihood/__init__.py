"""One likelihood for all models: what the held-out pieces hold on the beat grid, in nats."""
