"""Neural Tangent Kernel (Jacot, Gabriel and Hongler, NeurIPS 2018, arXiv 1806.07572).

Claim: as the layers of a fully connected network get wide, its tangent kernel Θ(x, x') = Σ_p ∂_p f(x) ∂_p f(x')
converges at initialisation to a limit Θ∞ without randomness, and stays there in training. The network function then
follows a linear differential equation, and the trained networks have a Gaussian law that is known in closed form.

    a_0 = x,  pre_{l+1} = W_l a_l / √n_l + β b_l,  a_{l+1} = s(pre_{l+1}),  f = pre_L,  all W and b ~ N(0, 1)
    df_t(x)/dt = -Θ(x, X) (f_t(X) - y) / N                 gradient flow on 1/2N Σ (f(x) - y)²; t is η times steps

X are the N training points, y their targets; L counts the affine maps and is called `depth`; s is ReLU. Eigenvalues λ_i
and kernel principal components f^(i), of unit mean square over X, are those of Θ∞(X, X)/N. What is shrunk against the
paper stands in the config.
"""
