"""The four criteria of Li et al. (fairness, scalability, sample efficiency, incentive) and the Shapley axioms."""
