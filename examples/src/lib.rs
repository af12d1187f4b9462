//! Runnable examples of Spry.
