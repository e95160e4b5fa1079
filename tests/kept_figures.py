"""What a run keeps of the evaluations that its best checkpoint was chosen by."""

from pneumodet.core import metrics_table, selection
from pneumodet.core.metrics_table import VALIDATION, MetricsTable, Row


def write(folder, values, moves):
    """Write what a run keeps of evaluations at steps 100, 200 and so on; ``moves`` are those of ``selection.MovesFile``."""
    metrics, file = MetricsTable(folder / metrics_table.FILE), selection.MovesFile(folder / selection.FILE)
    for number, (value, moved) in enumerate(zip(values, moves, strict=True), start=1):
        metrics.add(Row(100 * number, VALIDATION, number, bool(value == max(values)), {"rsna_metric": value}))
        file.add(100 * number, "rsna_metric", value, moved)
