"""Bayesian inference by the classical ways, as functions of one data set that `jit` and `vmap` lift over many.

Exact Gaussian processes, the choice of their hyper-parameters by evidence, Markov chains, variational inference: what
amortised inference is compared with.
"""
