//! What an operator sees with `status`, `doctor`, `log tail` and `kv watch`, of a set that runs and of one that does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_scenarios::cluster::{Cluster, Options, START, quorate};
use quorate_scenarios::shim::{Control, Machine};
use quorate_scenarios::wait::eventually;

#[test]
fn status_and_doctor_name_who_is_missing_and_why_nothing_commits() {
    let mut cluster = Cluster::four();
    cluster.put("a", "b");
    let home = cluster.home(0).display().to_string();
    let free = ["--min-free", "1"];
    let doctor = |cluster: &Cluster, more: &[&str]| {
        let all = [&["doctor", "--output", "json"], more, &free].concat();
        cluster.cli(&all)
    };
    // All is well, once all have connected.
    let healthy = eventually(START, "no problem is found", || {
        let run = doctor(&cluster, &["--home", &home]);
        (run.status == Some(0)).then_some(run)
    });
    assert!(healthy.stdout.contains("\"runs\""), "{}", healthy.stdout);
    let status = cluster
        .cli(&["status", "--output", "json"])
        .expect(0, "status")
        .json();
    let members = status["validators"].as_array().expect("a list").clone();
    assert_eq!((members.len(), status["quorum"].as_u64()), (4, Some(3)));
    assert!(members.iter().all(|m| m["connected_from"] == 3), "{status}");
    let votes = members.iter().filter_map(|member| member["votes"].as_u64());
    // A certificate holds exactly a quorum.
    let certificates = status["certificates"].as_u64().expect("a number");
    assert_eq!(votes.sum::<u64>(), 3 * certificates);
    // A second start of the same home.
    let run = quorate(&["start", "--home", &home]).expect(7, "it runs already");
    assert!(
        run.stderr.contains("in use by another process"),
        "{}",
        run.stderr
    );
    // One is away, and then two.
    cluster.kill(3);
    eventually(START, "the missing one is named", || {
        let run = doctor(&cluster, &[]).expect(1, "a problem");
        let found = run.stdout.contains("missing_validator")
            && run.stdout.contains("validator-3 (")
            && !run.stdout.contains("no_quorum");
        found.then_some(())
    });
    cluster.kill(2);
    eventually(START, "the cause is named", || {
        let run = doctor(&cluster, &["--home", &home]).expect(1, "a problem");
        let found = run.stdout.contains("missing: validator-2, validator-3")
            && run.stdout.contains("quorum-connected");
        found.then_some(())
    });
    let text = cluster.cli(&["status"]).expect(0, "two answer").stdout;
    assert!(text.contains("silent") && text.contains("0/2"), "{text}");
    let mut table = text.lines().filter(|line| !line.starts_with("http"));
    assert!(table.all(|line| line.chars().count() <= 80), "{text}");
    cluster.kill_all();
    cluster.cli(&["status"]).expect(4, "nobody answers");
    doctor(&cluster, &[]).expect(1, "nobody answers");
}

/// A listing goes on where the page before ended, whoever answers it.
fn lists_page_by_page(cluster: &Cluster) {
    let keys = ["page/a", "page/b", "page/b\u{e9}", "page/c", "page/d"];
    for key in keys {
        cluster.put(key, "x");
    }
    cluster.put("pagf", "behind them");
    for consistency in ["linearizable", "local"] {
        let range = |limit: &str, more: &[&str]| {
            let range = ["kv", "range", "page/", "--limit", limit, "--consistency"];
            let run = cluster.cli(&[range.as_slice(), &[consistency], more].concat());
            run.expect(0, "a page")
        };
        let bytes = |field: &serde_json::Value| {
            let text = field.as_str().expect("bytes");
            STANDARD.decode(text).expect("base64")
        };
        let all = || {
            let (mut found, mut from) = (Vec::new(), String::from("0x"));
            loop {
                let page = range("2", &["--from", &from, "--output", "json"]).json();
                let entries = page["entries"].as_array().expect("a list");
                found.extend(entries.iter().map(|entry| bytes(&entry["key"])));
                if page["more"] == false {
                    return found;
                }
                assert_eq!(entries.len(), 2, "{page}");
                let next = bytes(&page["next"]);
                from = next
                    .iter()
                    .fold(String::from("0x"), |hex, byte| format!("{hex}{byte:02x}"));
            }
        };
        // The word of one validator alone may be old.
        let listed = eventually(START, "all are there", || {
            let found = all();
            (found.len() == keys.len()).then_some(found)
        });
        assert_eq!(listed, keys.map(|key| key.as_bytes().to_vec()));
        let text = range("4", &[]).stdout;
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.ends_with("go on with --from 0x706167652f6300)"),
            "{text}"
        );
    }
}

#[test]
fn the_ledger_and_keys_can_be_followed() {
    let cluster = Cluster::four();
    cluster.put("fruit/apple", "red");
    cluster.put("tool", "hammer");
    cluster.put("fruit/pear", "green");
    cluster
        .cli(&[
            "kv",
            "cas",
            "fruit/apple",
            "--expect",
            "blue",
            "--value",
            "x",
        ])
        .expect(1, "not it");
    cluster
        .cli(&["kv", "delete", "fruit/pear"])
        .expect(0, "a delete");
    cluster
        .cli(&["kv", "delete", "fruit/none"])
        .expect(0, "nothing to delete");
    cluster.put("fruit/apple", "gold");
    let watch = ["kv", "watch", "fruit/", "--from", "1", "--count", "4"];
    let text = cluster.cli(&watch).expect(0, "four changes").stdout;
    let seen: Vec<String> = text
        .lines()
        .map(|line| line.split('\t').take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(seen[0], "put fruit/apple red");
    assert_eq!(seen[1], "put fruit/pear green");
    assert!(seen[2].starts_with("delete fruit/pear"), "{seen:?}");
    assert_eq!(seen[3], "put fruit/apple gold");
    let tail = [
        "log", "tail", "--from", "1", "--count", "3", "--output", "json",
    ];
    let text = cluster.cli(&tail).expect(0, "three heights").stdout;
    let heights = text.lines().map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
        entry["height"].as_u64()
    });
    assert!(heights.eq((1..=3).map(Some)), "{text}");
    // Without a place to begin, from the next block on, which an idle chain makes by itself.
    let run = cluster
        .cli(&["log", "tail", "--count", "1"])
        .expect(0, "the next");
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    // A proof, checked against another chain's genesis.
    let proof = cluster.path().join("tool.proof").display().to_string();
    cluster
        .cli(&["kv", "get", "tool", "--proof", &proof])
        .expect(0, "a proof");
    let other = Cluster::new(Options::default());
    let genesis = other.path().join("genesis.json").display().to_string();
    let run = quorate(&["verify", "--genesis", &genesis, &proof]).expect(6, "not its chain");
    assert!(
        run.stderr.contains("it is another chain's"),
        "{}",
        run.stderr
    );
    lists_page_by_page(&cluster);
    // A transaction that is ordered and rejected: status 5, whether it is submitted or asked about.
    let empty_key = "01000000".to_owned() + &"00".repeat(8);
    let run = cluster
        .cli(&["tx", "submit", "--command", &empty_key])
        .expect(5, "rejected");
    assert!(
        run.stdout.contains("length that it does not take"),
        "{}",
        run.stdout
    );
    let run = cluster.cli(&["--timeout", "1", "tx", "wait", &"ab".repeat(32)]);
    let run = run.expect(4, "nobody knows it");
    assert!(
        run.stderr.contains("no validator has a receipt"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("Never submitted"), "{}", run.stderr);
}

/// The setting with which this disk is nearly full: transactions are refused, and the validator does not halt.
fn little_room(place: &Path) -> (String, String) {
    let df = Command::new("df")
        .args(["--block-size=1", "--output=avail"])
        .arg(place)
        .output()
        .expect("coreutils");
    let free = String::from_utf8_lossy(&df.stdout).into_owned();
    let free = free
        .lines()
        .nth(1)
        .and_then(|line| line.trim().parse().ok());
    let free: u64 = free.expect("a number of bytes");
    // Below half of it, it would halt.
    let wanted = (free + free / 2).to_string();
    (String::from("QUORATE_STORAGE__MIN_FREE_BYTES"), wanted)
}

/// From another machine, with nothing but the profile: what is wrong at each of four validators.
#[test]
fn a_full_disk_a_wrong_clock_and_a_closed_port_are_named_from_afar() {
    let mut cluster = Cluster::new(Options::default());
    let clock = Control::at(cluster.path().join("clock"));
    clock.set(Machine {
        clock_shift_ns: 5_000_000_000,
        ..Machine::default()
    });
    // Where the others look for it nobody listens: as behind a firewall.
    let elsewhere = ("QUORATE_NETWORK__LISTEN".into(), "127.0.0.1:0".into());
    cluster.start(0);
    let sick = [
        vec![little_room(cluster.path())],
        clock.environment(),
        vec![elsewhere],
    ];
    for (i, environment) in (1..).zip(sick) {
        cluster.set_environment(environment);
        cluster.start(i);
    }
    eventually(START, "three causes are named", || {
        let run = cluster.cli(&["doctor"]).expect(1, "problems");
        let named = [
            "not_ready: validator-1 is not ready, disk-has-room fails: ",
            "make room on the disk of its home",
            "wrong_clock: the clock of validator-2 is 5.",
            "not_connected: validator-3 runs, and 3 of 3 others are not connected",
        ];
        let all = named.iter().all(|cause| run.stdout.contains(cause));
        // The three that can be are connected by then, and nothing else fails.
        let sound = cluster.status(0).get("failing").is_none();
        let causes = cluster.status(1)["failing"].as_array().map(Vec::len);
        (all && sound && causes == Some(1)).then_some(())
    });
    let text = cluster.cli(&["status"]).expect(0, "all answer").stdout;
    assert!(text.contains("validator-1 is not ready, disk-has-room"));
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let status = &cluster.status(1)["failing"][0];
    assert_eq!(status["check"], "disk-has-room");
}

/// A profile whose endpoints are a validator of another chain, and a port that is no validator's API.
#[test]
fn another_chain_and_another_program_are_told_apart() {
    let (cluster, other) = (single(), single());
    let profile = fs::read_to_string(cluster.path().join("client.toml")).expect("written");
    let own = format!("\"http://{}\"", cluster.api(0));
    let all = format!(
        "{own}, \"http://{}\", \"http://{}\"",
        other.api(0),
        cluster.admin(0)
    );
    assert!(profile.contains(&own), "{profile}");
    let path = cluster.path().join("mixed.toml");
    fs::write(&path, profile.replace(&own, &all)).expect("writable");
    let path = path.display().to_string();
    let run = quorate(&["--profile", &path, "doctor"]).expect(1, "problems");
    let line = |code: &str, at: std::net::SocketAddr| {
        let found = run.stdout.lines().find(|line| line.contains(code));
        assert!(
            found.is_some_and(|line| line.contains(&at.to_string())),
            "{}",
            run.stdout
        );
    };
    line("wrong_genesis", other.api(0));
    line("strange_answer", cluster.admin(0));
}

fn single() -> Cluster {
    Cluster::started(Options {
        validators: 1,
        ..Options::default()
    })
}

/// A running validator whose disk is nearly full: it takes no transactions, says so, and recovers by itself.
#[test]
fn a_disk_without_room_is_named_and_over_when_there_is_room_again() {
    let mut cluster = Cluster::new(Options {
        validators: 1,
        ..Options::default()
    });
    cluster.set_environment(vec![little_room(cluster.path())]);
    cluster.start_all();
    let home = cluster.home(0).display().to_string();
    let doctor = ["doctor", "--home", &home, "--min-free", "1"];
    eventually(START, "the cause is named", || {
        let run = quorate(&doctor);
        let found = run.stdout.contains("disk-has-room") && run.stdout.contains("make room on");
        (found && run.status == Some(1)).then_some(())
    });
    let run = cluster.cli(&["--timeout", "1", "kv", "put", "a", "b"]);
    let run = run.expect(4, "no room for a transaction");
    assert!(run.stderr.contains("disk is nearly full"), "{}", run.stderr);
    cluster.kill(0);
    cluster.set_environment(Vec::new());
    cluster.start_all();
    cluster.wait_all_ready(START);
    cluster.put("a", "b");
}
