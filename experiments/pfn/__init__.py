"""Transformers Can Do Bayesian Inference (Müller, Hollmann, Pineda Arango, Grabocka and Hutter, ICLR 2022, 2112.10510).

Claim: a Transformer trained on data sets D ~ p(D) of a prior to predict held-out targets,

    ℓ(θ) = E_{D ∪ (x, y) ~ p(D)} [ -log q_θ(y | x, D) ],

a "prior-data fitted network" (PFN), gives the posterior predictive distribution of that prior: ℓ is the expected KL
divergence of q_θ(· | x, D) from p(· | x, D), up to a constant (corollary 1.1). At test time inference is one forward
pass without a gradient, where MLE-II, variational inference and MCMC start anew for every data set.

The network, its bars, priors and training are in `core.amortised`; the posteriors that it is held against in
`core.bayes`. What is shrunk against the paper stands in the config.
"""
