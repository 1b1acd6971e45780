//! The vocabulary of a call: caller, target, call, verdict, refusal, reply; data only.
