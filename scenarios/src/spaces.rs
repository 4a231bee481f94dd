//! A network of its own for every validator: a Linux network namespace each, with one cable to that of the runner, where
//! the relays and the clients are.
//!
//! ```text
//!   validator 0, 10.77.0.2 ═══ 10.77.0.1 ┐                     ┌ 10.77.1.1 ═══ 10.77.1.2, validator 1
//!                                        ├ relays and clients ─┤
//!   validator 2, 10.77.2.2 ═══ 10.77.2.1 ┘                     └ …
//! ```
//!
//! Nothing is routed from one cable to another: what does not pass a relay does not arrive. The runner's network is one of
//! its own, too, so that nothing on the machine is touched, and all of it is gone with the processes that hold it.

use std::env;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::wait::eventually;

/// Says to this program that it runs in a network of its own.
const INSIDE: &str = "QUORATE_SCENARIOS_NETWORK";

/// How a namespace is made: as root, or as whoever is root in a user namespace.
const WAYS: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];

/// Whether this process runs in a network of its own.
#[must_use]
pub fn inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs this program again, with the same arguments, in a network of its own; none where there are no namespaces.
///
/// # Panics
/// If the program cannot be started.
#[must_use]
pub fn again() -> Option<ExitStatus> {
    let way = WAYS.iter().find(|way| can(way))?;
    let own = env::current_exe().expect("a running program has a path");
    let mut command = Command::new("unshare");
    command
        .args(*way)
        .arg("--")
        .arg(own)
        .args(env::args_os().skip(1));
    Some(command.env(INSIDE, "own").status().expect("tried before"))
}

/// Whether namespaces with cables can be made in this way.
fn can(way: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    command.args(way).args([
        "--", "ip", "link", "add", "q0", "type", "veth", "peer", "name", "q1",
    ]);
    command.output().is_ok_and(|output| output.status.success())
}

/// A validator's network.
#[derive(Debug)]
pub struct Space {
    number: u8,
    /// Lives in the namespace, which ends with it; it ends with its standard input.
    holder: Child,
}

impl Space {
    /// A namespace with a cable. The runner is [`inside`] its own.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn new(number: u8) -> Space {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--", "cat"]);
        holder.stdin(Stdio::piped()).stdout(Stdio::null());
        let holder = holder.spawn().expect("unshare, of util-linux");
        let space = Space { number, holder };
        let (own, its) = ("/proc/self/ns/net", space.path());
        let network = |path: &str| std::fs::read_link(path).ok();
        eventually(Duration::from_secs(5), "a network namespace", || {
            (network(&its)? != network(own)?).then_some(())
        });
        let (cable, pid) = (space.cable(), space.holder.id().to_string());
        run(Command::new("ip")
            .args(["link", "add", &cable, "type", "veth"])
            .args(["peer", "name", "eth0", "netns", &pid]));
        run(Command::new("ip")
            .args(["address", "add", &format!("{}/24", space.outer())])
            .args(["dev", &cable]));
        space.plug(true);
        let (inner, outer) = (format!("{}/24", space.inner()), space.outer().to_string());
        for words in [
            &["address", "add", &inner, "dev", "eth0"][..],
            &["link", "set", "eth0", "up"],
            &["link", "set", "lo", "up"],
            &["route", "add", "default", "via", &outer],
        ] {
            run(space.command(Path::new("ip")).args(words));
        }
        space
    }

    /// The runner's end of the cable: what the others believe to be the validator.
    #[must_use]
    pub fn outer(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    /// The validator's end.
    #[must_use]
    pub fn inner(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 2)
    }

    /// A program in this network; the process that is started becomes it.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path()))
            .arg("--")
            .arg(program);
        command
    }

    /// Plugs the cable in, or pulls it: then the validator reaches nobody, and no client reaches it.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn plug(&self, plugged: bool) {
        let to = if plugged { "up" } else { "down" };
        run(Command::new("ip").args(["link", "set", &self.cable(), to]));
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    fn cable(&self) -> String {
        format!("cable{}", self.number)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("ip, of iproute2");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}
