"""Benchmarks: each prints medians and spread and compares with what a user would pick instead."""
