//! The verification pool.
