"""5. What is written for people to look at: MLflow. The only import of mlflow."""
