//! Datasets, tokenising, batching and federated partitioning for Spry.
