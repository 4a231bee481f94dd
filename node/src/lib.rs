//! The daemon and the command line of Quorate.

pub mod net;
