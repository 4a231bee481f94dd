//! Bytes that flip in the files of one of four: the start refuses them, or the validator does not serve them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::chaos::draw::Draw;
use crate::cluster::{ANSWER, Cluster, START};
use crate::faults::random_bits;
use crate::http::Connection;
use crate::load::Writer;
use crate::recovery::{VICTIM, keep, nobody_signed_twice, put_back};

/// Values that fill the tables, and their size.
const VALUES: usize = 150;
const VALUE: usize = 20_000;
/// How long a validator with rot is watched.
const WATCHED: Duration = Duration::from_secs(2);
/// How it ends that finds rot: what is damaged, and a home that does not hold together.
const REFUSED: [i32; 2] = [8, 7];

/// One flipped byte after the other, each in a home that was whole before.
pub fn rotten_disk(flips: usize) -> Vec<String> {
    let mut cluster = Cluster::four();
    let mut writer = Writer::new(&cluster, 1);
    for value in 0..VALUES {
        let done = writer.put(&key(value), &bytes(value), Instant::now() + START);
        assert!(done, "a put succeeds");
    }
    let mut draw = Draw::new(random_bits());
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    let (mut ran, mut served) = (0, 0);
    for flip in 0..flips {
        cluster.put("rot", &flip.to_string());
        cluster.agree(START);
        assert!(cluster.stop(VICTIM).success());
        let copy = keep(cluster.home(VICTIM));
        let file = flip_a_byte(cluster.home(VICTIM), &mut draw);
        cluster.start(VICTIM);
        let end = match watch(&mut cluster, &mut served) {
            Some(status) => format!("ended with {status}"),
            None => {
                ran += 1;
                "nothing of it was served".into()
            }
        };
        *met.entry(format!("{file}: {end}")).or_default() += 1;
        cluster.kill(VICTIM);
        put_back(&copy, cluster.home(VICTIM));
        cluster.start(VICTIM);
        cluster.wait_ready(VICTIM, START);
    }
    nobody_signed_twice(&cluster);
    // Else it was never seen that what it serves is right.
    assert!(ran == 0 || served > 0, "a validator that runs serves");
    let said = |(what, times): (&String, &usize)| format!("{times} times {what}");
    met.iter().map(said).collect()
}

fn key(value: usize) -> String {
    format!("rot/{value}")
}

/// No two alike, and nothing that a flipped bit turns into another's.
fn bytes(value: usize) -> Vec<u8> {
    let mut draw = Draw::new(u64::try_from(value).expect("few"));
    let words = (0..VALUE / 8).flat_map(|_| draw.bits().to_le_bytes());
    words.collect()
}

/// Flips a bit of a byte in a home, in a file of any kind; which kind.
fn flip_a_byte(home: &Path, draw: &mut Draw) -> String {
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for part in ["data", "safety"] {
        for entry in fs::read_dir(home.join(part)).expect("a whole home") {
            let path = entry.expect("readable").path();
            let filled = |file: fs::Metadata| file.is_file() && file.len() > 0;
            if path.metadata().is_ok_and(filled) {
                let kind = format!("{part}/{}", kind(&path));
                kinds.entry(kind).or_default().push(path);
            }
        }
    }
    // What RocksDB writes for people nobody reads.
    kinds.retain(|kind, _| !kind.starts_with("data/LOG"));
    let (kind, files) = kinds.iter().nth(draw.index(kinds.len())).expect("a file");
    let path = &files[draw.index(files.len())];
    let mut content = fs::read(path).expect("readable");
    let place = draw.index(content.len());
    content[place] ^= 1 << draw.below(8);
    fs::write(path, content).expect("writable");
    kind.clone()
}

/// The name of a file without its number.
fn kind(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name
        .unwrap_or_default()
        .split('-')
        .next()
        .unwrap_or_default();
    name.trim_start_matches(|letter: char| letter.is_ascii_digit())
}

/// Reads everything from the validator, for as long as it runs; returns how it ended, if it did, and counts what was served.
///
/// # Panics
/// If it serves anything else than what was put there, or ends without saying why.
fn watch(cluster: &mut Cluster, served: &mut usize) -> Option<i32> {
    let from = Instant::now();
    while from.elapsed() < WATCHED {
        if let Some(status) = cluster.ended(VICTIM) {
            let code = status.code().filter(|code| REFUSED.contains(code));
            let log = cluster.log_of_start(VICTIM);
            assert!(
                code.is_some() && !log.contains("panicked"),
                "{status}: {log}"
            );
            return code;
        }
        *served += read_all(cluster);
    }
    None
}

/// How many values it served, all of them right.
fn read_all(cluster: &Cluster) -> usize {
    let mut served = 0;
    let Ok(mut connection) = Connection::open(cluster.api(VICTIM), ANSWER) else {
        return served;
    };
    for value in 0..VALUES {
        let path = format!(
            "/v1/kv/{}?consistency=local",
            key(value).replace('/', "%2F")
        );
        let Ok(answer) = connection.send("GET", &path, "text/plain", &[]) else {
            break;
        };
        if answer.status < 500 {
            let there = answer.json()["value"] == STANDARD.encode(bytes(value));
            assert!(there, "rot was served: {} {}", answer.status, answer.text());
            served += 1;
        }
    }
    served
}
