"""Names that a user may choose from, here so that a command's flags need neither TensorFlow nor protobuf."""

PRECISIONS = ("float32", "bfloat16", "float16")
"""What a model may compute in; its weights are float32 in all of them, so that its checkpoints are the same."""

RECIPES = ("stock",)
"""Recipes of training: folders of configs/ with what a config of the same name has otherwise there; stock is the model zoo's own."""

CHECKPOINT_TYPES = ("classification", "detection", "fine_tune", "full")
"""Values of fine_tune_checkpoint_type that the API's models know (model.restore_from_objects)."""

NO_AVERAGES = ("train_config.optimizer.use_moving_average=false", "eval_config.use_moving_averages=false")
"""Settings of a config by which the weights themselves are evaluated, kept and exported."""
