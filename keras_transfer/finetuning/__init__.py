"""Fine-tuning of any Keras model."""
