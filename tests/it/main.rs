//! The gateway from outside: one module per concern.

mod spine;
