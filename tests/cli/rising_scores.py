"""A trainer that trains nothing. In a module by itself, since each new process imports it."""


def trains(fields, *, on_progress, on_evaluation):
    """Evaluate twice; the score rises with the batch size."""
    for step in (fields["steps"] // 2, fields["steps"]):
        on_progress(step, fields["steps"])
        on_evaluation(step, {"rsna_metric": (fields["batch_size"] or 8) * step / 10_000})
