"""PromQL that all dashboards share.

A run may move from one replica of the server to another, and its figures then stand on both for a
while; ranks of a run show the same representations. Each curve is therefore taken from the one
replica that has the run now: where it is live, and of several the one that is furthest ahead.
"""

from __future__ import annotations

#: What tells replicas and ranks of one run apart.
_COPIES = "instance, job, pod, rank"
#: What names a run; a server without tenants has no such label, which is as good as an empty one.
_RUN = ("tenant", "run")
_OF_RUNS = 'run=~"$run"'
# Live runs come before ended ones, whatever their steps: doubles hold the sum exactly.
_LIVE = "1e15"


def select(metric: str, *matchers: str) -> str:
    """Series of a metric of the chosen runs."""
    return f"{metric}{{{', '.join((_OF_RUNS, *matchers))}}}"


def by_run(operator: str, series: str, *labels: str) -> str:
    """Series aggregated over all but the run and further labels."""
    return f"{operator} by ({', '.join((*_RUN, *labels))}) ({series})"


def on_run(*labels: str) -> str:
    """What series are joined on that belong to one run."""
    return f"on ({', '.join((*_RUN, *labels))})"


def over_copies(series: str, current: str) -> str:
    """Each series once, from the replica that `current` puts first."""
    first = by_run("topk", f"1, {current}")
    return f"max without ({_COPIES}) ({series} and {on_run('instance')} {first})"


def figure(metric: str, *matchers: str) -> str:
    """A metric of the chosen runs as it changes in time."""
    current = f"{select('thermograd_last_step')} + {_LIVE} * {select('thermograd_run_live')}"
    return over_copies(select(metric, *matchers), current)


def latest(metric: str, *matchers: str) -> str:
    """The last value of a metric in the range shown, also of runs that are over."""
    last_step = f"last_over_time({select('thermograd_last_step')}[$__range])"
    live = f"last_over_time({select('thermograd_run_live')}[$__range])"
    return over_copies(
        f"last_over_time({select(metric, *matchers)}[$__range])", f"{last_step} + {_LIVE} * {live}"
    )


def symmetric(pairs: str, row: str, column: str) -> str:
    """A whole matrix from one triangle of it, with ones on its diagonal."""
    swapped = _copied(_copied(_copied(pairs, row, "swap"), column, row), "swap", column)
    both = f"({pairs} or max without (swap) ({swapped}))"
    return with_diagonal(both, row, column)


def with_diagonal(pairs: str, row: str, column: str, *, is_defined: bool = True) -> str:
    """A matrix with the likeness of each row to itself: one, or NaN where it is not defined.

    Without its diagonal Grafana would put the columns into another order than the rows.
    """
    likeness = "^ 0" if is_defined else "* NaN"
    diagonal = _copied(f"{by_run('max', pairs, row)} {likeness}", row, column)
    return f"{pairs} or {diagonal}"


def _copied(series: str, source: str, target: str) -> str:
    return f'label_replace({series}, "{target}", "$1", "{source}", "(.*)")'
