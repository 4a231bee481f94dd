//! A running validator: the replica with its disk, its peers, its clients and its clock.
//!
//! | module | owns |
//! |---|---|
//! | [`core`] | the one thread that takes turns |
//! | `arrivals` | what waits for its next turn |
//! | [`api`] | the answers to the HTTP layer ([`crate::backend::Backend`]) |
//! | `submission` | a transaction from there to the core, and the core's answer |
//! | [`tickets`] | who waits for which answer of the core |
//! | [`links`] | metrics of the connections to peers |
//! | [`watch`] | metrics and logs of what a turn led to |
//! | [`clock`] | the only clock |

pub mod api;
mod arrivals;
pub mod clock;
pub mod core;
pub mod links;
mod submission;
pub mod tickets;
pub mod watch;
