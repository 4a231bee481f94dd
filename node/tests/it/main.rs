//! Integration tests of the node, in one binary: RocksDB is linked once.

mod api;
mod cli;
mod failover;
mod mock;
