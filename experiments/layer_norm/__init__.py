"""Layer Normalization (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

Claim: normalising the summed inputs of a layer over its units, for each case and each time step by itself, makes
training faster, above all of recurrent networks. Unlike batch normalisation it needs no batch, and is the same in
training and test.

    μ = 1/H Σ_i a_i,   σ = √(1/H Σ_i (a_i - μ)²)             statistics over the H summed inputs of one layer, one case
    LN(a) = g ∘ (a - μ) / σ + b,   h = f(LN(a))              equation 3; g = 1 and b = 0 at first
    a_t = W_hh h_{t-1} + W_xh x_t,   h_t = f(LN(a_t))        equation 4, at every time step by itself

The recurrent cells are those of the supplement: an LSTM normalises W_h h, W_x x (each over all its gates together) and
the cell; a GRU W_h h and W_x x (both gates together), and W x and U h of its candidate. Table 1 is in `invariances`,
section 6.6 in `perceptrons`, stand-ins for sections 6.1 to 6.3 and 6.5 in `sequences`, section 6.4 in `drawing`. What
is shrunk or replaced against the paper stands in the config.
"""
