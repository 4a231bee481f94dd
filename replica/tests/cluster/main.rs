//! Replicas in one process that deliver to each other at once: the way of a transaction through all of them, and the way
//! back of whoever was away.
//!
//! | module | holds |
//! |---|---|
//! | `cluster`, `shelf` | the replicas and what is between them; the snapshots that they hand out, honestly or not |
//! | `commits` | transactions, with everybody there, without one, and after all were gone |
//! | `catch_up` | who was away, by blocks |
//! | `snapshots` | who was away too long for that |
//! | `damage` | entries that rotted on a disk |
//! | `proofs` | keys with a proof |

mod catch_up;
mod cluster;
mod commits;
mod damage;
mod proofs;
mod shelf;
mod snapshots;
