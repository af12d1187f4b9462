//! What the examples share: the model and data that a user named, the defaults, or the stand-ins.

pub mod inputs;
