"""Networks, losses, the training loop and the export: the only package that imports Keras."""
