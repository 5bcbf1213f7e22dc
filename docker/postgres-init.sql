-- MLflow's own database: its schema and Optuna's keep their versions in a table of the same name.
CREATE DATABASE mlflow OWNER sweeper;
-- And the users who may log in to it.
CREATE DATABASE mlflow_users OWNER sweeper;
