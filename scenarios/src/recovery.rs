//! Scenarios of P5: a home that was put back, one that is lost, a key on two machines, and how soon a validator votes.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, START, binary, quorate};
use crate::load::{Load, Writer, check_all_there};
use crate::wait::eventually;

/// The validator that everything happens to; the three others stay a quorum.
const VICTIM: usize = 3;
/// The ceiling lies up to 1,024 rounds ahead of what was signed, and all of them are burnt.
const LEAVES: Duration = Duration::from_secs(180);
/// How soon a validator votes again, from its start.
const VOTES: Duration = Duration::from_secs(5);

/// A voter's home is put back to an older copy, under load: it notices, signs nothing twice, and is needed again.
pub fn restored_home(times: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut findings = Vec::new();
    for time in 0..times {
        let load = loaded(&cluster, "restored");
        assert!(cluster.stop(VICTIM).success());
        let copy = keep(cluster.home(VICTIM));
        cluster.start(VICTIM);
        cluster.wait_ready(VICTIM, START);
        votes_within(&cluster, Instant::now(), START);
        cluster.kill(VICTIM);
        put_back(&copy, cluster.home(VICTIM));
        let from = Instant::now();
        cluster.start(VICTIM);
        let took = votes_within(&cluster, from, START);
        let (_, keys) = load.stop();
        check_all_there(&cluster, &keys);
        let outdated = count(&cluster.log(VICTIM), "home_outdated");
        assert_eq!(outdated, time + 1, "it says that its home is old");
        is_needed(&mut cluster);
        findings.push(format!("voted {took:.1?} after its start from an old copy"));
    }
    nobody_signed_twice(&cluster);
    findings
}

/// A validator's disk is lost: its start is refused until it is told so, and then it votes again.
pub fn lost_disk(times: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut findings = Vec::new();
    for time in 0..times {
        cluster.put(&format!("lost/{time}"), "before");
        cluster.kill(VICTIM);
        let home = cluster.home(VICTIM).to_path_buf();
        let recover = |flags: &[&str]| {
            let path = home.display().to_string();
            let mut arguments = vec!["recover", "--home", &path];
            arguments.extend(flags);
            quorate(&arguments)
        };
        recover(&["--yes"]).expect(7, "a whole home is not recovered");
        fs::remove_dir_all(home.join("data")).expect("lost");
        if time % 2 == 0 {
            // Half a memory is refused. No memory at all could be a first start, so it is not.
            cluster.start(VICTIM);
            let ended = cluster.wait_end(VICTIM, START);
            assert_eq!(ended.code(), Some(7), "a home without data");
        } else {
            fs::remove_dir_all(home.join("safety")).expect("lost");
        }
        recover(&[]).expect(2, "only with --yes");
        recover(&["--yes"]).expect(0, "marked");
        let from = Instant::now();
        cluster.start(VICTIM);
        let load = loaded(&cluster, "lost");
        let mark = home.join("safety/forgetful");
        eventually(LEAVES, "it has a record again", || {
            (!mark.exists()).then_some(())
        });
        let took = votes_within(&cluster, from, START);
        let (_, keys) = load.stop();
        check_all_there(&cluster, &keys);
        is_needed(&mut cluster);
        findings.push(format!("voted {took:.1?} after its start from nothing"));
    }
    nobody_signed_twice(&cluster);
    findings
}

/// Two processes have one validator's keys: both say so, and nothing forks.
pub fn twin_key(times: usize) -> Vec<String> {
    let mut findings = Vec::new();
    for _ in 0..times {
        let mut cluster = Cluster::four();
        // The lowest index dials all others; so does its twin.
        assert!(cluster.stop(0).success());
        let copy = keep(cluster.home(0));
        cluster.start(0);
        cluster.wait_ready(0, START);
        let load = loaded(&cluster, "twin");
        let twin = Twin::start(copy);
        let said = |log: &str| count(log, "key_used_elsewhere") + count(log, "home_outdated");
        eventually(START, "both say so", || {
            (said(&cluster.log(0)) > 0 && said(&twin.log()) > 0).then_some(())
        });
        std::thread::sleep(Duration::from_secs(5));
        let lines = [cluster.log(0), twin.log()].map(|log| count(&log, "peer_disconnected"));
        drop(twin);
        let (_, keys) = load.stop();
        check_all_there(&cluster, &keys);
        cluster.wait_all_ready(START);
        let (height, _) = cluster.agree(START);
        findings.push(format!(
            "agreed at {height}; disconnected {lines:?} times in five seconds"
        ));
    }
    findings
}

/// A validator that was away for so many blocks votes again. How soon is told, not demanded: the aim is not reached yet.
pub fn restart_gap(hundreds: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    assert!(cluster.stop(VICTIM).success());
    let first = cluster.height(0);
    let mut writer = Writer::new(&cluster, 1);
    writer.only((0..3).map(|i| cluster.api(i)).collect());
    for put in 0..100 * hundreds {
        let deadline = Instant::now() + START;
        assert!(writer.put(&format!("gap/{put}"), b"x", deadline));
    }
    let gap = cluster.height(0) - first;
    let load = loaded(&cluster, "gap");
    let from = Instant::now();
    cluster.start(VICTIM);
    let took = votes_within(&cluster, from, START);
    let (_, keys) = load.stop();
    check_all_there(&cluster, &keys);
    cluster.agree(START);
    vec![format!(
        "{gap} blocks behind, voted {took:.1?} after its start (aim: {VOTES:?}, not demanded)"
    )]
}

/// Writes through the others.
fn loaded(cluster: &Cluster, name: &str) -> Load {
    let mut writer = Writer::new(cluster, 1);
    writer.only((1..3).map(|i| cluster.api(i)).collect());
    Load::start(name, vec![writer])
}

/// Certificates hold the votes of a quorum, so now and then one holds the victim's, if it votes: not all of the next ones
/// lack it.
fn votes_within(cluster: &Cluster, from: Instant, limit: Duration) -> Duration {
    let missing = format!("quorate_consensus_votes_missing_total{{validator=\"{VICTIM}\"}}");
    let look = || {
        let height = cluster.metric(1, "quorate_consensus_committed_height");
        height.zip(cluster.metric(1, &missing))
    };
    let before = look();
    eventually(limit, "its votes are in certificates", || {
        let (was, lacked) = before?;
        let (height, lacking) = look()?;
        // The two are not read in one instant.
        (height - was > lacking - lacked + 2.0).then_some(())
    });
    from.elapsed()
}

/// Without one of the others, nothing commits unless the victim votes.
fn is_needed(cluster: &mut Cluster) {
    cluster.kill(0);
    cluster.put("needed", "three of four");
    cluster.start(0);
    cluster.wait_all_ready(START);
}

fn nobody_signed_twice(cluster: &Cluster) {
    for i in 0..cluster.size() {
        let log = cluster.log(i);
        assert_eq!(count(&log, "evidence"), 0, "{log}");
        assert_eq!(count(&log, "key_used_elsewhere"), 0, "{log}");
    }
}

/// How often this was logged, by the name of the event.
fn count(log: &str, event: &str) -> usize {
    log.matches(&format!("\"event\":\"{event}\"")).count()
}

/// A copy of a home that nobody uses.
fn keep(home: &Path) -> PathBuf {
    let copy = home.with_extension("copy");
    let _ = fs::remove_dir_all(&copy);
    run_copy(home, &copy);
    copy
}

fn put_back(copy: &Path, home: &Path) {
    for part in ["data", "safety"] {
        fs::remove_dir_all(home.join(part)).expect("removed");
        run_copy(&copy.join(part), &home.join(part));
    }
}

fn run_copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.expect("cp runs").success(), "copied");
}

/// A second process with a validator's keys, on ports of its own.
struct Twin {
    child: Child,
    log: PathBuf,
}

impl Twin {
    fn start(home: PathBuf) -> Twin {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let tcp = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let peers = udp.local_addr().expect("bound");
        let [api, admin] = tcp.map(|socket| socket.local_addr().expect("bound"));
        drop(udp);
        let log = home.with_extension("log");
        let file = File::create(&log).expect("the directory is writable");
        let mut command = Command::new(binary());
        command.arg("start").arg("--home").arg(&home);
        command.arg("--set").arg(format!("network.listen={peers}"));
        command.arg("--set").arg(format!("api.listen={api}"));
        command.arg("--set").arg(format!("admin.listen={admin}"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(file).spawn().expect("the binary starts");
        Twin { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
