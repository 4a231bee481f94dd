//! A machine: threads and a link, each with a time from which it is free, and how long it was busy.

/// Of a validator.
#[derive(Debug)]
pub(super) struct Machine {
    io: Server,
    uplink: Server,
    verifiers: Vec<Server>,
    /// The core takes one turn after the other by itself; here it only counts.
    core: u64,
}

/// One that does one thing after the other, in the order in which they come.
#[derive(Clone, Copy, Debug, Default)]
struct Server {
    free: u64,
    busy: u64,
}

impl Server {
    /// When something that comes now and takes so long is done.
    fn serve(&mut self, now: u64, takes: u64) -> u64 {
        self.free = self.free.max(now) + takes;
        self.busy += takes;
        self.free
    }
}

/// How long each part of a machine was busy, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Busy {
    pub(super) core: u64,
    pub(super) io: u64,
    /// The mean of all.
    pub(super) verifiers: u64,
    pub(super) uplink: u64,
}

impl Machine {
    pub(super) fn new(verifiers: usize) -> Machine {
        Machine {
            io: Server::default(),
            uplink: Server::default(),
            verifiers: vec![Server::default(); verifiers.max(1)],
            core: 0,
        }
    }

    pub(super) fn core(&mut self, takes: u64) {
        self.core += takes;
    }

    pub(super) fn io(&mut self, now: u64, takes: u64) -> u64 {
        self.io.serve(now, takes)
    }

    pub(super) fn uplink(&mut self, now: u64, takes: u64) -> u64 {
        self.uplink.serve(now, takes)
    }

    /// The verifier that is free first does it.
    pub(super) fn verify(&mut self, now: u64, takes: u64) -> u64 {
        let first = self.verifiers.iter_mut().min_by_key(|server| server.free);
        first.expect("at least one").serve(now, takes)
    }

    /// From here on it counts.
    pub(super) fn forget(&mut self) {
        self.core = 0;
        let servers = [&mut self.io, &mut self.uplink].into_iter();
        servers
            .chain(&mut self.verifiers)
            .for_each(|server| server.busy = 0);
    }

    pub(super) fn busy(&self) -> Busy {
        let count = u64::try_from(self.verifiers.len()).expect("few");
        Busy {
            core: self.core,
            io: self.io.busy,
            verifiers: self.verifiers.iter().map(|s| s.busy).sum::<u64>() / count,
            uplink: self.uplink.busy,
        }
    }
}
