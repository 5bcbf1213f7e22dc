"""1. What is asked: a YAML file becomes a SweepSpec. Imports neither torch, ray, optuna nor mlflow."""
