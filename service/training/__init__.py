"""Models learn: datasets, fitting, evaluation, runs. Keras is imported in the trainer's own process only."""
