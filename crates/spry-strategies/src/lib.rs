//! Federated finetuning methods: Spry and its baselines, one file each.
