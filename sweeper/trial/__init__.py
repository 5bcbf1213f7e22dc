"""4. One fine-tuning: data, backbone, optimiser and loop become a stream of EpochMetrics."""
