"""The Faust shell around the pure pipeline: agents, gate, flushes, acks, settings, metrics."""
