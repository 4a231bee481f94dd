//! What systemd sees of a validator: `Type=notify` with a watchdog.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use quorate_scenarios::cluster::{Cluster, Options, START};
use quorate_scenarios::wait::eventually;

/// The service manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    /// Waits for a message with this line, and returns all of it.
    fn hears(&self, line: &str) -> String {
        let mut bytes = [0; 4_096];
        eventually(START, line, || {
            let length = self.0.recv(&mut bytes).ok()?;
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            text.lines().any(|found| found == line).then_some(text)
        })
    }
}

#[test]
fn systemd_hears_of_start_life_and_stop() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).expect("a new socket"));
    let timeout = Some(Duration::from_secs(1));
    manager.0.set_read_timeout(timeout).expect("a socket");
    let mut cluster = Cluster::new(Options {
        validators: 1,
        clients: 1,
        environment: vec![
            ("NOTIFY_SOCKET".into(), path.display().to_string()),
            ("WATCHDOG_USEC".into(), "400000".into()),
        ],
        ..Options::default()
    });
    cluster.start(0);
    let text = manager.hears("READY=1");
    assert!(text.contains("STATUS=validating chain"), "{text}");
    for _ in 0..2 {
        manager.hears("WATCHDOG=1");
    }
    assert!(cluster.stop(0).success());
    manager.hears("STOPPING=1");
}
