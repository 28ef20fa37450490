"""Lets the frameworks run with Debian's PyTorch 1.13, which they support elsewhere."""

import torch

IS_OLD = not hasattr(torch, "compile")


def let_modules_be_made(lightning_module):
    """Debian's Python is too new for PyTorch 1.13's sharded tensors, which Lightning imports."""
    if IS_OLD:
        lightning_module._register_sharded_tensor_state_dict_hooks_if_available = lambda self: None


def let_data_be_loaded(training_arguments):
    """PyTorch 1 insists on a prefetch factor without workers; transformers refuses to set it."""
    if not IS_OLD:
        return
    original = training_arguments.__post_init__

    def with_prefetch_factor(self):
        original(self)
        self.dataloader_prefetch_factor = 2

    training_arguments.__post_init__ = with_prefetch_factor
