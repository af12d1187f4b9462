//! A client that finetunes a model on questions.
