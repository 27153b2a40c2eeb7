"""The framework that judges attribution methods: requests, runtime and carbon in, fairness and three more out.

After Li et al., "Fair, Practical, and Efficient Carbon Accounting for LLM Serving", SIGMETRICS PER, August 2025:
requests R, runtime S and carbon C are three replaceable ingredients; the Shapley value is the ground truth.
"""
