"""Amortised Bayesian inference: networks trained on data sets drawn from a prior, whose outputs are posteriors.

`encoder` is the network, `bar_distribution` and `heads` turn its outputs into densities, `priors` draw data sets on the
device, `training` is one step and `fitting` whole trainings within a trial, by `settings`; `weights` and `estimators`
let a trained network be saved, loaded and used.
"""
