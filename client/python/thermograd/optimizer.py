"""What a PyTorch optimiser tells about its rule: family, parameter groups, preconditioner."""

from __future__ import annotations

import torch

from thermograd.v1 import run_pb2

# What distinguishes an optimiser's rule from the others of its type.
_RULE_OPTIONS = (
    "momentum", "nesterov", "dampening", "betas", "amsgrad", "maximize", "decoupled_weight_decay",
)  # fmt: skip


def describe(optimizer: torch.optim.Optimizer | None) -> run_pb2.Optimizer:
    """The optimiser's family. A subclass may follow another rule, so types must be exact."""
    if optimizer is None:
        return run_pb2.Optimizer()
    options = optimizer.param_groups[0]
    kind, momentum, second_moment_decay = run_pb2.OPTIMIZER_KIND_OTHER, 0.0, 0.0
    groups_differ = any(
        group.get(option) != options.get(option)
        for group in optimizer.param_groups
        for option in _RULE_OPTIONS
    )
    if groups_differ or any(options.get(x) for x in ("maximize", "amsgrad", "dampening")):
        pass
    elif type(optimizer) is torch.optim.SGD:
        momentum = options["momentum"]
        kind = run_pb2.OPTIMIZER_KIND_MOMENTUM if momentum else run_pb2.OPTIMIZER_KIND_SGD
    elif type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        momentum, second_moment_decay = (float(beta) for beta in options["betas"])
        is_decoupled = options.get("decoupled_weight_decay", type(optimizer) is torch.optim.AdamW)
        kind = run_pb2.OPTIMIZER_KIND_ADAMW if is_decoupled else run_pb2.OPTIMIZER_KIND_ADAM
    return run_pb2.Optimizer(
        kind=kind,
        momentum=momentum,
        second_moment_decay=second_moment_decay,
        nesterov=kind == run_pb2.OPTIMIZER_KIND_MOMENTUM and bool(options["nesterov"]),
    )


def group_names(optimizer: torch.optim.Optimizer) -> list[str]:
    """A name for each parameter group: the group's own under "name", else its number.

    Groups that share a name all get numbers. The only group of an optimiser has the empty name: its
    parameters stand alone.
    """
    groups = optimizer.param_groups
    if len(groups) == 1:
        return [""]
    numbers = [str(number) for number in range(len(groups))]
    names = [
        str(group.get("name") or number) for number, group in zip(numbers, groups, strict=True)
    ]
    return names if len(set(names)) == len(names) else numbers
