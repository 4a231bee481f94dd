//! Snapshots of a running validator: made beside the core, kept as files, handed to peers; and the past that goes once it
//! is in one. Procedures and figures: docs/SNAPSHOTS.md.
//!
//! The core's part is small: it halts for a moment when a height is due ([`keeper::Hook`]), and writes the deletions that
//! the keeper prepared. Everything else happens on threads of their own, which read the store as others do.

pub mod disk;
pub mod files;
pub mod keeper;
pub mod shelf;
