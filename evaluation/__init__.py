"""The framework that judges attribution methods, with the Shapley value as ground truth."""
