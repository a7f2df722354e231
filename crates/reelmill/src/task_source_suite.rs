//! What every source of tasks must do.
