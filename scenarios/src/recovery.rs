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
pub(crate) const VICTIM: usize = 3;
/// The ceiling lies up to 1,024 rounds ahead of what was signed, and all of them are burnt.
const LEAVES: Duration = Duration::from_secs(180);
/// How soon a validator votes again, from its start.
const VOTES: Duration = Duration::from_secs(5);

/// A voter's home is put back to an older copy, under load: it notices, signs nothing twice, and is needed again.
pub fn restored_home(times: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut findings = Vec::new();
    let mut writers = vec![writer(&cluster)];
    for time in 0..times {
        let load = Load::start(&format!("restored/{time}"), writers);
        assert!(cluster.stop(VICTIM).success());
        let copy = keep(cluster.home(VICTIM));
        cluster.start(VICTIM);
        cluster.wait_ready(VICTIM, START);
        votes_within(&cluster, VICTIM, START, Instant::now());
        cluster.kill(VICTIM);
        put_back(&copy, cluster.home(VICTIM));
        let from = Instant::now();
        cluster.start(VICTIM);
        let took = votes_within(&cluster, VICTIM, START, from);
        let (back, keys) = load.stop();
        writers = back;
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
    let mut writers = vec![writer(&cluster)];
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
        let load = Load::start(&format!("lost/{time}"), writers);
        let mark = home.join("safety/forgetful");
        eventually(LEAVES, "it has a record again", || {
            (!mark.exists()).then_some(())
        });
        let took = votes_within(&cluster, VICTIM, START, from);
        let (back, keys) = load.stop();
        writers = back;
        check_all_there(&cluster, &keys);
        is_needed(&mut cluster);
        findings.push(format!("voted {took:.1?} after its start from nothing"));
    }
    nobody_signed_twice(&cluster);
    findings
}

/// All are put back to copies of different moments: first one after the other, which is promised to be safe, then at
/// once, which is not: then what was committed after the newest copy is forgotten, and they say so.
pub fn all_restored(times: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut findings = Vec::new();
    let mut writers = vec![Writer::new(&cluster, 1)];
    let mut kept = Vec::new();
    for time in 0..times {
        let mut copies = Vec::new();
        for i in 0..cluster.size() {
            let load = Load::start(&format!("all/{time}/{i}"), writers);
            std::thread::sleep(Duration::from_secs(1));
            let (back, keys) = load.stop();
            writers = back;
            kept.extend(keys);
            cluster.agree(START);
            assert!(cluster.stop(i).success());
            copies.push(keep(cluster.home(i)));
            cluster.start(i);
            cluster.wait_all_ready(START);
        }
        let load = Load::start(&format!("all/{time}/later"), writers);
        one_after_the_other(&mut cluster, &copies);
        let (back, later) = load.stop();
        writers = back;
        cluster.agree(START);
        check_all_there(&cluster, &later);
        check_all_there(&cluster, &kept);
        let alarmed = at_once(&mut cluster, &copies);
        check_all_there(&cluster, &kept);
        assert_eq!(evidence(&cluster), 0, "nobody signed twice");
        findings.push(format!(
            "one after the other: nothing lost; at once: {} acknowledged keys forgotten, {alarmed} of 4 say so",
            later.len()
        ));
    }
    cluster.kill_all();
    cluster.verify_logs();
    findings
}

fn one_after_the_other(cluster: &mut Cluster, copies: &[PathBuf]) {
    for (i, copy) in copies.iter().enumerate() {
        let before = alarms(cluster, i);
        cluster.kill(i);
        put_back(copy, cluster.home(i));
        let from = Instant::now();
        cluster.start(i);
        votes_within(cluster, i, START, from);
        assert!(alarms(cluster, i) > before, "it says that its home is old");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// How many say that their homes are old.
fn at_once(cluster: &mut Cluster, copies: &[PathBuf]) -> usize {
    let said = |cluster: &Cluster| [0, 1, 2, 3].map(|i| alarms(cluster, i));
    let before = said(cluster);
    cluster.kill_all();
    for (i, copy) in copies.iter().enumerate() {
        put_back(copy, cluster.home(i));
    }
    cluster.start_all();
    cluster.wait_all_ready(START);
    cluster.put("all-restored", "after");
    cluster.agree(START);
    // A certificate in the newest copy holds the votes of two of the others.
    eventually(START, "two say that their homes are old", || {
        let now = said(cluster);
        let alarmed = now.iter().zip(&before).filter(|(now, before)| now > before);
        Some(alarmed.count()).filter(|alarmed| *alarmed >= 2)
    })
}

/// How often a validator said that its home is old. One that hears of it only after its fence takes it for another
/// process with its key.
pub(crate) fn alarms(cluster: &Cluster, i: usize) -> usize {
    let log = cluster.log(i);
    count(&log, "home_outdated") + count(&log, "key_used_elsewhere")
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
        let load = Load::start("twin", vec![writer(&cluster)]);
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

/// A validator that was away for so many blocks votes again, in time.
pub fn restart_gap(hundreds: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    assert!(cluster.stop(VICTIM).success());
    let first = cluster.height(0);
    let mut writer = writer(&cluster);
    let mut put = 0;
    while cluster.height(0) < first + 100 * u64::try_from(hundreds).expect("few") {
        for _ in 0..25 {
            let deadline = Instant::now() + START;
            assert!(writer.put(&format!("gap/{put}"), b"x", deadline));
            put += 1;
        }
    }
    let load = Load::start("gap", vec![writer]);
    let from = Instant::now();
    let gap = cluster.height(0) - first;
    cluster.start(VICTIM);
    let took = votes_within(&cluster, VICTIM, VOTES, from);
    let (_, keys) = load.stop();
    check_all_there(&cluster, &keys);
    is_needed(&mut cluster);
    cluster.agree(START);
    vec![format!(
        "{gap} blocks behind, voted {took:.1?} after its start"
    )]
}

/// A client that asks only validators that nothing happens to, so that the load never pauses. One a scenario: a second one
/// with the same key would number its transactions from the beginning again.
pub(crate) fn writer(cluster: &Cluster) -> Writer {
    let mut writer = Writer::new(cluster, 1);
    writer.only((1..3).map(|i| cluster.api(i)).collect());
    writer
}

/// A validator that was started at `from` votes. It says so itself: certificates hold the votes of the first three of
/// four, and those of one that is a little slower may be in none of them.
pub(crate) fn votes_within(
    cluster: &Cluster,
    i: usize,
    limit: Duration,
    from: Instant,
) -> Duration {
    let left = limit.saturating_sub(from.elapsed());
    let took = eventually(left, "it votes", || {
        let votes = cluster.metric(i, "quorate_consensus_votes_total")?;
        (votes > 0.0).then(|| from.elapsed())
    });
    assert!(took <= limit, "it voted {took:?} after its start");
    took
}

/// Without one of the others, nothing commits unless the victim votes.
pub(crate) fn is_needed(cluster: &mut Cluster) {
    cluster.kill(0);
    cluster.put("needed", "three of four");
    cluster.start(0);
    cluster.wait_all_ready(START);
}

fn evidence(cluster: &Cluster) -> usize {
    let logs = (0..cluster.size()).map(|i| cluster.log(i));
    logs.map(|log| count(&log, "evidence")).sum()
}

pub(crate) fn nobody_signed_twice(cluster: &Cluster) {
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
pub(crate) fn keep(home: &Path) -> PathBuf {
    let copy = home.with_extension("copy");
    let _ = fs::remove_dir_all(&copy);
    run_copy(home, &copy);
    copy
}

pub(crate) fn put_back(copy: &Path, home: &Path) {
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
