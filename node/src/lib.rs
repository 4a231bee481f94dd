//! The daemon and the command line of Quorate.
//!
//! The only place that spawns threads and tasks, opens sockets and files, and reads clocks. It decides nothing about the
//! protocol: the replica does.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`exit`] | verbs, help, exit statuses |
//! | [`config`], [`genesis`], [`keys`], [`passphrase`], [`testnet`] | the files of a home |
//! | [`ceremony`] | how separate operators agree on a genesis |
//! | [`http`], [`backend`] | the API for clients, the admin port, and the seam to the running validator |
//! | [`net`] | QUIC between validators |
//! | [`metrics`], [`logging`] | what can be seen from outside |
//! | [`audit`] | verifies a ledger from the genesis alone |
//! | [`rebuild`], [`scratch`] | a state worked out again, and where it lies meanwhile |
//! | [`descriptors`] | how many files may be open |
//! | [`owner`] | whose files a command makes |
//! | [`service`] | what systemd is told |
//! | [`trace`] | the way of single transactions, for collectors of traces |
//! | [`start`], [`validator`] | puts a validator together and runs it |

pub mod audit;
pub mod backend;
pub mod backup;
pub mod ceremony;
pub mod cli;
pub mod config;
pub mod descriptors;
pub mod exit;
pub mod genesis;
pub mod http;
pub mod interrupt;
pub mod keys;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod origin;
pub mod owner;
pub mod passphrase;
pub mod rebuild;
pub mod scratch;
pub mod service;
pub mod snapshot;
pub mod staged;
pub mod start;
pub mod testnet;
pub mod trace;
pub mod validator;
