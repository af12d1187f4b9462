//! Language models over dual numbers, parameter-efficient finetuning, and Hugging Face weights.
