//! The rules of docs/PROTOCOL.md as small models, explored exhaustively by `stateright`. Not part of what ships.
//!
//! A model is the protocol without its implementation: it says which signatures a correct validator may give, and the
//! checker tries every order of everything. What the model allows is compared with what the engine does by replaying
//! sampled paths through [`quorate_consensus::Engine`].
//!
//! | module | holds |
//! |---|---|
//! | [`blocks`] | every block that a bounded number of rounds can have |
//! | [`rules`] | what one correct validator may sign; each rule can be switched off |
//! | [`replay`] | the same rules and the real engine, side by side |
//! | [`fence`] | four correct validators, one of them restored from an older copy of its disk |
//! | [`strict`] | three correct validators, one of which loses its disk, and a Byzantine one |
//! | [`protocol`] | four validators, one of them Byzantine, with crashes: the exhaustive exploration |
//!
//! `cargo run --release -p quorate-model` explores the large instances; the tests explore small ones, and show that each
//! rule is needed: with one switched off, a counterexample is found.

pub mod blocks;
pub mod fence;
pub mod protocol;
pub mod replay;
pub mod rules;
pub mod strict;
