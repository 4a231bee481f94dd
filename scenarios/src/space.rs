//! A disk that fills up, as a small file system of its own: a tmpfs, which takes root to mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use quorate_types::codec;

use crate::cluster::{Cluster, Options, START};
use crate::load::{Load, Writer, check_all_there, is_executed, put_command};
use crate::recovery::{VICTIM, votes_within, writer};
use crate::wait::eventually;

/// The file system; `storage.min_free_bytes` unless it is set.
const DISK: u64 = 1 << 30;
const MIN_FREE: u64 = 256 << 20;
/// What is left for the load to fill.
const LEFT: u64 = 16 << 20;
/// Bytes of a value.
const VALUE: usize = 50_000;

/// One of four has a small disk, and others' files fill it: it refuses writes before the disk is full, halts before it is
/// fuller, and goes on by itself once there is room.
pub fn low_disk(rounds: usize) -> Vec<String> {
    let mut cluster = Cluster::new(Options::default());
    let disk = Disk::mount(cluster.home(VICTIM));
    cluster.start_all();
    cluster.wait_all_ready(START);
    let pid = cluster.pid(VICTIM);
    let mut small = Writer::new(&cluster, 2);
    small.only(vec![cluster.api(VICTIM)]);
    let load = Load::start("elsewhere", vec![writer(&cluster)]);
    let mut findings = Vec::new();
    for round in 0..rounds {
        disk.leave(MIN_FREE + LEFT);
        let mut accepted = Vec::new();
        let refused = eventually(START, "writes are refused", || {
            let key = format!("small/{round}/{}", accepted.len());
            let body = small.body(vec![put_command(&key, &[7; VALUE])]);
            let bytes = codec::encode(&small.sign(body));
            let answer = small.send_once(&bytes, "executed")?;
            if is_executed(&answer) {
                accepted.push(key);
                return None;
            }
            Some((answer.status, answer.code(), disk.free()))
        });
        let (status, code, free) = refused;
        assert_eq!((status, code.as_str()), (503, "not_serving"));
        assert!(free > MIN_FREE / 2, "refused with {free} B left");
        let ready = cluster.ask_admin(VICTIM, "/readyz").expect("it answers");
        assert!(ready.text().contains("disk-has-room"), "{}", ready.text());
        assert_eq!(ready.status, 503);
        cluster.put("low-disk", "by the others");
        disk.leave(MIN_FREE / 2 - (1 << 20));
        eventually(START, "it halts", || {
            let halts = cluster.log(VICTIM).matches("the validator halts\"").count();
            (halts > round).then_some(())
        });
        // The turn in progress is ended.
        std::thread::sleep(Duration::from_secs(1));
        let (halted, served) = (cluster.height(VICTIM), load.served());
        eventually(START, "the others go on", || {
            (load.served() > served + 50).then_some(())
        });
        assert_eq!(cluster.height(VICTIM), halted, "it takes nothing");
        let at_least = disk.free();
        disk.clear();
        let from = Instant::now();
        cluster.wait_ready(VICTIM, START);
        votes_within(&cluster, VICTIM, START, from);
        let took = from.elapsed();
        eventually(START, "it takes writes again", || {
            small
                .put("small", b"room", Instant::now() + START)
                .then_some(())
        });
        check_all_there(&cluster, &accepted);
        findings.push(format!(
            "{} large values taken, refused with {free} B left and halted with {at_least}; ready {took:.1?} after there was room",
            accepted.len()
        ));
    }
    assert_eq!(cluster.pid(VICTIM), pid);
    assert!(cluster.ended(VICTIM).is_none(), "one process all the time");
    let (_, keys) = load.stop();
    check_all_there(&cluster, &keys);
    findings
}

/// A small file system in the place of a directory, gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(home: &Path) -> Disk {
        let aside = home.with_extension("aside");
        run("mv", &[home, &aside]);
        fs::create_dir(home).expect("writable");
        let size = format!("size={DISK}");
        let tmpfs = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(Path::new);
        run("mount", &[&tmpfs[..], &[home]].concat());
        let disk = Disk(home.to_owned());
        run("cp", &[Path::new("-a"), &aside.join("."), home]);
        disk
    }

    /// Free bytes.
    fn free(&self) -> u64 {
        let mut df = Command::new("df");
        df.args(["-B1", "--output=avail"]).arg(&self.0);
        let output = df.output().expect("df runs").stdout;
        let text = String::from_utf8(output).expect("text");
        let line = text.lines().last().expect("a line");
        line.trim().parse().expect("a number")
    }

    /// A file of somebody else takes all but so much.
    fn leave(&self, bytes: u64) {
        let taken = self.filler().metadata().map_or(0, |file| file.len());
        let length = (self.free() + taken).saturating_sub(bytes).to_string();
        run(
            "fallocate",
            &[Path::new("-l"), Path::new(&length), &self.filler()],
        );
    }

    fn clear(&self) {
        fs::remove_file(self.filler()).expect("it is there");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("somebody-elses-file")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open keeps it until he ends.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status();
    let status = status.expect("the program is installed");
    assert!(status.success(), "{program} {arguments:?}");
}
