"""A simulated fleet: real traces through a continuous-batching engine with measured times and energies."""
