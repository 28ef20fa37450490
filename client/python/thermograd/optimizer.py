"""What a PyTorch optimiser tells about its rule: family, parameter groups, preconditioner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from thermograd.v1 import run_pb2

# What distinguishes an optimiser's rule from the others of its type.
_RULE_OPTIONS = (
    "momentum", "nesterov", "dampening", "betas", "amsgrad", "maximize", "decoupled_weight_decay",
)  # fmt: skip

_ADAM = (torch.optim.Adam, torch.optim.AdamW)
# Without momentum they remember nothing of earlier gradients but their size.
_DIAGONAL_RULES = (
    *_ADAM, torch.optim.SGD, torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.RMSprop,
)  # fmt: skip


def describe(optimizer: torch.optim.Optimizer | None) -> run_pb2.Optimizer:
    """The optimiser's family. A subclass may follow another rule, so types must be exact.

    Of an OTHER rule without momentum the service takes the update to be -Lambda g; a rule of which
    that is not known stays unspecified.
    """
    if optimizer is None or type(optimizer) not in _DIAGONAL_RULES:
        return run_pb2.Optimizer()
    options = optimizer.param_groups[0]
    # The largest, as groups may differ.
    momentum = max(
        float(group.get("momentum", group.get("betas", (0.0,))[0]))
        for group in optimizer.param_groups
    )
    kind, second_moment_decay = run_pb2.OPTIMIZER_KIND_OTHER, 0.0
    groups_differ = any(
        group.get(option) != options.get(option)
        for group in optimizer.param_groups
        for option in _RULE_OPTIONS
    )
    if groups_differ or any(options.get(x) for x in ("maximize", "amsgrad", "dampening")):
        pass
    elif type(optimizer) is torch.optim.SGD:
        kind = run_pb2.OPTIMIZER_KIND_MOMENTUM if momentum else run_pb2.OPTIMIZER_KIND_SGD
    elif type(optimizer) in _ADAM:
        second_moment_decay = float(options["betas"][1])
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


def has_preconditioner(optimizer: torch.optim.Optimizer) -> bool:
    """Whether `preconditioners` knows the optimiser's rule: Adam and AdamW that minimise."""
    return type(optimizer) in _ADAM and not any(
        group.get("maximize") for group in optimizer.param_groups
    )


def preconditioners(
    optimizer: torch.optim.Optimizer, names: Mapping[torch.Tensor, str]
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, Lambda) of each named parameter that the latest step of Adam or AdamW has updated.

    Lambda is the diagonal of Delta theta = -Lambda m, m the bias-corrected mean gradient:
    lr / (sqrt(v) + eps) with the bias-corrected second moment v, or with its maximum under AMSGrad
    (Kingma and Ba 2015, algorithm 1; Reddi, Kale and Kumar 2018, algorithm 2). Decoupled decay is
    no part of it.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            # `get`, because looking up what is not there would add to the optimiser's state.
            state = optimizer.state.get(parameter)
            if parameter not in names or parameter.grad is None or not state:
                continue
            moment = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"].detach()
            # In double precision, as torch's own numbers are; on the tensor's device, because
            # reading a step count there would wait for it.
            step = torch.as_tensor(state["step"], dtype=torch.float64)
            correction = (1 - group["betas"][1] ** step).sqrt()
            denominator = (moment.sqrt() / correction).add_(group["eps"])
            yield names[parameter], group["lr"] / denominator
