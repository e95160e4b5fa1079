"""The training engine for Keras 3 models: what detection's engine does, for models that are not the API's."""
