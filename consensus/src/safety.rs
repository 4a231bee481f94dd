//! The gateway.
mod approved;
pub use approved::{Approved, Authorised};
