//! What Quorate promises, tried on the real binary: real processes, real sockets, a real disk.
//!
//! The simulator covers the protocol under a virtual clock; this covers what it cannot: quinn, TLS, tokio, RocksDB, the
//! command line, signals and the kernel. Nothing here is part of what ships.
//!
//! | module | holds |
//! |---|---|
//! | [`catalogue`] | every scenario by name, with its promise |
//! | [`faults`], [`power`], [`clients`], [`scale`], [`snapshots`], [`joins`], [`space`], [`recovery`], [`apart`], [`rot`], [`blows`], [`copies`] | the scenarios |
//! | [`chaos`] | a seeded schedule of faults, and an audit |
//! | [`cluster`] | validators as processes |
//! | [`load`] | clients that remember what was acknowledged |
//! | [`contend`] | clients that contend for one key, and whether what they saw is linearizable |
//! | [`observer`] | everything that was signed, and contradictions in it |
//! | [`share`] | a part of the machine for each |
//! | [`shim`] | disks that are slow or fail, lost power, wrong clocks |
//! | [`http`], [`ports`], [`wait`] | small tools |
//!
//! `quorate-scenarios list` names them, `quorate-scenarios run NAME` runs one at full length; `tests/` has the short
//! versions. A broken promise is a panic whose message says which; the logs are kept.

pub mod apart;
pub mod blows;
pub mod catalogue;
pub mod chaos;
pub mod clients;
pub mod cluster;
pub mod contend;
pub mod copies;
pub mod faults;
pub mod http;
pub mod joins;
pub mod load;
pub mod observer;
pub mod ports;
pub mod power;
pub mod recovery;
pub mod rot;
pub mod scale;
pub mod share;
pub mod shim;
pub mod snapshots;
pub mod space;
pub mod spaces;
pub mod wait;
