//! Integration tests of the node, in one binary: RocksDB is linked once.

mod api;
mod cli;
mod damage;
mod doctor;
mod ends;
mod events;
mod failover;
mod follow;
mod fuzz;
mod mock;
mod names;
mod owner;
mod proved;
mod proving;
mod settle;
mod slow;
mod submissions;
mod verbs;
