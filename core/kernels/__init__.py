"""Kernels of wide networks: in the limit of infinite width, of finite networks, and what follows from them."""
