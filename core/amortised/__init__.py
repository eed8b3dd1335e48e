"""Amortised Bayesian inference: networks trained on data sets drawn from a prior, whose outputs are posteriors.

`encoder` is the network, `bars` and `heads` turn its outputs into densities, `priors` draw data sets on the device,
`training` is one step of the loop, `weights` and `estimators` let a trained network be saved, loaded and used.
"""
