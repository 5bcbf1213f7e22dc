"""Images: readers -> manifest -> decoded cache -> augmented batches."""
