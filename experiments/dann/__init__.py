"""Domain-Adversarial Training of Neural Networks (Ganin et al., JMLR 17, 2016, arXiv 1505.07818).

Claim: a network that is trained on labelled examples of a source domain and on unlabelled ones of a target domain does
better on the target when its features cannot tell the domains apart. That takes one more head, which guesses the
domain, and a layer before it that is the identity forwards and reverses the gradient backwards:

    θ_f ← θ_f - μ (∂L_y/∂θ_f - λ ∂L_d/∂θ_f)      the features serve the labels and hinder the domains   (equation 13)
    θ_y ← θ_y - μ ∂L_y/∂θ_y                      the label head learns labels of the source             (equation 14)
    θ_d ← θ_d - μ λ ∂L_d/∂θ_d                    the domain head learns to tell the domains apart       (equation 15)

In the deep networks λ acts in (13) alone, and the domain head steps by μ (section 5.2.2). The method is in
`adversarial.py`; `experiment.py` holds it against these equations, and `moons.py`, `images.py` and `reviews.py` are the
experiments. No label of the target is read by anything but the final test, the arm trained on the target, and subspace
alignment, which is labelled so.
"""
