"""The Lottery Ticket Hypothesis (Frankle and Carbin, ICLR 2019, arXiv 1803.03635).

Claim: a dense, randomly initialised network f(x; θ0) contains a sparse subnetwork f(x; m ∘ θ0) that, trained alone
from the same initial values, reaches the accuracy of the dense network in at most as many iterations. The same mask
with other initial values, or another mask with the same values, does not.

Tickets are found by iterative magnitude pruning with resetting:

    θ0 ~ D, m = 1
    repeat: train f(·; m ∘ θ0) for J iterations to θJ;
            in m, clear the fraction p of the surviving weights with the smallest |θJ|;
            reset the survivors to θ0

Pruning is layer by layer, the output layer at half the rate, or global over all 3 x 3 convolutions. P_m is the share of
prunable weights that survive; biases are never pruned. What is shrunk against the paper stands in the config.
"""
