"""Measures on one data-centre GPU what sub-batches of an inference batch cost: `python3 -m benchmarks.gpu`."""
