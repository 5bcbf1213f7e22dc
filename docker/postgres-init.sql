-- MLflow's own database: its schema and Optuna's keep their versions in a table of the same name.
CREATE DATABASE mlflow OWNER sweeper;
