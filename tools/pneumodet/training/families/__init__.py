"""The kinds of Keras models that the engine trains."""
