"""A small reverse-mode autograd engine: Tensor, op table, layers, losses, optimisers."""
