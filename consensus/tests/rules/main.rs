//! Each rule, on one engine that gets crafted messages: what it refuses, what it waits for, what it signs.
//!
//! | module | holds |
//! |---|---|
//! | `scene`, `effects` | the engine with what it is sent, and what came of it |
//! | `blocks` | V1, V2, V5, V6: blocks that never get a vote |
//! | `votes` | V1, V3–V5, I1, P1: when a block gets its vote, and that a round has one |
//! | `certificates` | A2, C2, D1, I3, I10: what is counted, certified, fetched and committed |
//! | `timeouts` | T1, T2 |
//! | `leaders` | L3, L4 |
//! | `starts` | P4; observers; who is far behind |
#![allow(missing_docs, reason = "a test has a name")]

mod blocks;
mod certificates;
mod effects;
mod leaders;
mod scene;
mod starts;
mod timeouts;
mod votes;
#[path = "../world/mod.rs"]
mod world;
