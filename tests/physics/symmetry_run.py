"""A stream of named numpy tensors whose symmetries are measured."""

from system_support import Stream, chunks, end_step, run, service, tensor


class SymmetryRun:
    """One run. Tensors are passed by parameter name; the last report has the figures."""

    def __init__(
        self,
        server,
        name,
        parameters,
        symmetries,
        *,
        learning_rate,
        weight_decay=0.0,
        optimizer=run.OPTIMIZER_KIND_SGD,
        sends_updates=False,
        window_steps=1,
        report_every_steps=1,
    ):
        self._ids = {key: number for number, key in enumerate(parameters, start=1)}
        self._stream = Stream(server)
        self._learning_rate = learning_rate
        self._weight_decay = weight_decay
        self._stream.open(
            run.RunSpec(
                run=name,
                optimizer=run.Optimizer(kind=optimizer),
                parameters=[
                    run.Parameter(id=self._ids[key], name=key, shape=array.shape)
                    for key, array in parameters.items()
                ],
                symmetries=symmetries(self),
                parameter_kinds=[tensor.TENSOR_KIND_UPDATE] if sends_updates else [],
                reporting=run.Reporting(
                    window_steps=window_steps, report_every_steps=report_every_steps
                ),
            )
        )

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        self._stream.__exit__(*arguments)

    def member(self, name, **rows):
        """The parameter, or some of its rows."""
        return run.Member(parameter_id=self._ids[name], **rows)

    def send(self, step, gradients, weights=None, updates=None):
        """Queues one step; its report is not waited for."""
        begin = run.StepBegin(
            step=step,
            learning_rate=self._learning_rate,
            weight_decay=self._weight_decay,
            microbatch_size=1,
            microbatches=1,
        )
        self._stream.send(service.StreamRunRequest(step_begin=begin))
        for kind, tensors in (
            (tensor.TENSOR_KIND_WEIGHT, weights),
            (tensor.TENSOR_KIND_GRADIENT, gradients),
            (tensor.TENSOR_KIND_UPDATE, updates),
        ):
            for key, array in (tensors or {}).items():
                self._stream.send(*chunks(self._ids[key], kind, array))
        self._stream.send(end_step(step))

    def report(self):
        """The next report."""
        return self._stream.receive("step_report")

    def step(self, step, gradients, weights=None, updates=None):
        """Sends one step and returns its report."""
        self.send(step, gradients, weights, updates)
        return self.report()
