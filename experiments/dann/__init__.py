"""Domain-Adversarial Training of Neural Networks (Ganin et al., JMLR 17, 2016, arXiv 1505.07818).

Claim: a network that is trained on labelled examples of a source domain and on unlabelled ones of a target domain does
better on the target when its features cannot tell the domains apart. That takes one more head, which guesses the
domain, and a layer before it that is the identity forwards and reverses the gradient backwards:

    θ_y ← θ_y - μ ∂L_y/∂θ_y                                  the label head learns labels of the source
    θ_d ← θ_d - μ ∂L_d/∂θ_d                                  the domain head learns to tell the domains apart
    θ_f ← θ_f - μ (∂L_y/∂θ_f - λ ∂L_d/∂θ_f)                  the features serve the first and hinder the second

The method is in `adversarial.py`; `moons.py`, `images.py` and `reviews.py` are the experiments. No label of the target
is read by anything but the final test, the arm trained on the target, and subspace alignment, which is labelled so.
"""
