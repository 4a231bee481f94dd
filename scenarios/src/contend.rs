//! Clients that contend for one counter, and whether what they saw can have happened one after the other.
//!
//! Each reads the counter with a signed get and sets it to the next number with a compare-and-set on what it read. Values
//! name who set them, so that no two are alike and the counter's history is a chain. For such a history linearizability
//! (Herlihy and Wing, 1990) needs no search: each number has one value, and whoever begins after somebody ended sees no
//! less than that one did.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_execution::kv::{Command, KvResult};
use quorate_types::{Blob, codec};
use serde_json::Value;

use crate::load::Writer;

/// The counter that they contend for.
const KEY: &[u8] = b"contended";
/// How long a transaction is sent again before its outcome stays open.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the counter holds: a number, and who set it in which attempt. Zero before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// How often the counter was set.
    pub number: u64,
    /// Who set it.
    pub client: u64,
    /// In which of its attempts.
    pub attempt: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.number, self.client, self.attempt)
    }
}

impl Mark {
    fn bytes(self) -> Option<Blob> {
        (self.number > 0).then(|| Blob(self.to_string().into_bytes()))
    }

    fn read(value: &[u8]) -> Mark {
        let text = String::from_utf8_lossy(value);
        let mut parts = text.split('/').map(|part| part.parse().expect("a mark"));
        let mut next = || parts.next().expect("three numbers");
        Mark {
            number: next(),
            client: next(),
            attempt: next(),
        }
    }
}

/// What a client learned from one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The counter held this.
    Read(Mark),
    /// It was set to this.
    Set(Mark),
    /// It did not hold this any more.
    Beyond(Mark),
    /// It may have been set to this: nobody answered.
    Open(Mark),
}

/// What was learned, and when: the truth lies between the two moments.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Before it was sent.
    pub began: Instant,
    /// After the answer.
    pub ended: Instant,
    /// What.
    pub learned: Learned,
}

/// Contenders at work.
#[derive(Debug)]
pub struct Contest {
    stop: Arc<AtomicBool>,
    contenders: Vec<JoinHandle<(Writer, Vec<Seen>)>>,
}

impl Contest {
    /// Sets them to work, each with one transaction at a time.
    #[must_use]
    pub fn start(writers: Vec<Writer>) -> Contest {
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |(client, mut writer): (u64, Writer)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let seen = contend(&mut writer, client, &stop);
                (writer, seen)
            })
        };
        let contenders = (0u64..).zip(writers).map(spawn).collect();
        Contest { stop, contenders }
    }

    /// Ends the work of a cluster that serves, reads the counter once more, and judges all that was seen. Returns how
    /// often it was set by somebody who knows it.
    ///
    /// # Panics
    /// If it cannot have happened so, or a contender failed.
    #[must_use]
    pub fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for handle in self.contenders {
            let (mut writer, seen) = handle.join().expect("a contender does not fail");
            all.extend(seen);
            let last = get(&mut writer, &AtomicBool::new(false));
            all.push(last.expect("a cluster that serves answers"));
        }
        if let Err(broken) = judge(&all) {
            panic!("the contended counter is not linearizable: {broken}");
        }
        let set = |seen: &&Seen| matches!(seen.learned, Learned::Set(_));
        all.iter().filter(set).count()
    }
}

fn contend(writer: &mut Writer, client: u64, stop: &AtomicBool) -> Vec<Seen> {
    let mut all = Vec::new();
    for attempt in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Some(read) = get(writer, stop) else {
            continue;
        };
        all.push(read);
        let Learned::Read(held) = read.learned else {
            continue;
        };
        let mark = Mark {
            number: held.number + 1,
            client,
            attempt,
        };
        all.push(set(writer, held, mark, stop));
    }
    all
}

fn get(writer: &mut Writer, stop: &AtomicBool) -> Option<Seen> {
    let command = Command::Get {
        key: Blob(KEY.to_vec()),
    };
    let began = Instant::now();
    let result = send(writer, &command, stop)?;
    let KvResult::Get(record) = result else {
        panic!("a get that led to {result:?}");
    };
    let mark = record.map_or(Mark::default(), |record| Mark::read(&record.value.0));
    Some(Seen {
        began,
        ended: Instant::now(),
        learned: Learned::Read(mark),
    })
}

fn set(writer: &mut Writer, held: Mark, mark: Mark, stop: &AtomicBool) -> Seen {
    let command = Command::CompareAndSet {
        key: Blob(KEY.to_vec()),
        expect: held.bytes(),
        value: mark.bytes(),
    };
    let began = Instant::now();
    let learned = match send(writer, &command, stop) {
        Some(KvResult::CompareAndSet { swapped: true, .. }) => Learned::Set(mark),
        Some(KvResult::CompareAndSet { swapped: false, .. }) => Learned::Beyond(held),
        Some(result) => panic!("a compare-and-set that led to {result:?}"),
        None => Learned::Open(mark),
    };
    Seen {
        began,
        ended: Instant::now(),
        learned,
    }
}

fn send(writer: &mut Writer, command: &Command, stop: &AtomicBool) -> Option<KvResult> {
    let commands = vec![Blob(codec::encode(command))];
    let receipt = writer.until_executed(commands, Instant::now() + PATIENCE, stop)?;
    result_of(&receipt)
}

/// None if the receipt is of a second place of the transaction, which has no results.
fn result_of(receipt: &Value) -> Option<KvResult> {
    let result = receipt["results"][0].as_str()?;
    let bytes = STANDARD.decode(result).expect("base64");
    Some(KvResult::decode(&bytes).expect("a result of the machine"))
}

/// Whether all of it can have happened one after the other, each between its two moments.
///
/// # Errors
/// The first contradiction.
pub fn judge(all: &[Seen]) -> Result<(), String> {
    let mut chain: BTreeMap<u64, Mark> = BTreeMap::new();
    let mut set: BTreeSet<Mark> = BTreeSet::new();
    let mut open: BTreeSet<Mark> = BTreeSet::new();
    for seen in all {
        match seen.learned {
            Learned::Set(mark) => {
                set.insert(mark);
            }
            Learned::Open(mark) => {
                open.insert(mark);
                continue;
            }
            Learned::Read(_) | Learned::Beyond(_) => {}
        }
        let (Learned::Read(mark) | Learned::Set(mark) | Learned::Beyond(mark)) = seen.learned
        else {
            continue;
        };
        let known = *chain.entry(mark.number).or_insert(mark);
        if known != mark {
            return Err(format!("it held {known} and {mark}"));
        }
    }
    for (number, mark) in chain.iter().filter(|(number, _)| **number > 0) {
        if !set.contains(mark) && !open.contains(mark) {
            return Err(format!("it held {mark}, which nobody set"));
        }
        let before = number - 1;
        let could = chain.contains_key(&before) || open.iter().any(|mark| mark.number == before);
        if before > 0 && !could {
            return Err(format!("it held {mark}, and nobody set {before}"));
        }
    }
    in_order(all)
}

/// Whoever begins after somebody ended sees no less, and sets more.
fn in_order(all: &[Seen]) -> Result<(), String> {
    let mut by_begin: Vec<&Seen> = all.iter().collect();
    by_begin.sort_by_key(|seen| seen.began);
    let mut by_end: Vec<&Seen> = by_begin.clone();
    by_end.sort_by_key(|seen| seen.ended);
    let mut ended = by_end.into_iter().peekable();
    let mut floor = 0;
    for seen in by_begin {
        while let Some(earlier) = ended.next_if(|earlier| earlier.ended < seen.began) {
            floor = floor.max(match earlier.learned {
                Learned::Read(mark) | Learned::Set(mark) => mark.number,
                Learned::Beyond(mark) => mark.number + 1,
                Learned::Open(_) => 0,
            });
        }
        match seen.learned {
            Learned::Read(mark) if mark.number < floor => {
                return Err(format!("{mark} was read after {floor} was there"));
            }
            Learned::Set(mark) if mark.number <= floor => {
                return Err(format!("{mark} was set after {floor} was there"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64, client: u64) -> Mark {
        let attempt = u64::from(number > 0);
        Mark {
            number,
            client,
            attempt,
        }
    }

    /// Begun and ended, in milliseconds.
    type Moment = (u64, u64, Learned);

    fn history(all: &[Moment]) -> Result<(), String> {
        let start = Instant::now();
        let at = |moment: u64| start + Duration::from_millis(moment);
        let seen = all.iter().map(|(began, ended, learned)| Seen {
            began: at(*began),
            ended: at(*ended),
            learned: *learned,
        });
        judge(&seen.collect::<Vec<_>>())
    }

    #[test]
    fn what_can_have_happened_passes() {
        use Learned::{Beyond, Open, Read, Set};
        let fine = history(&[
            (0, 9, Read(mark(0, 0))),
            (0, 9, Read(mark(0, 0))),
            (10, 20, Set(mark(1, 1))),
            // At the same time, so that it may see either.
            (10, 20, Read(mark(0, 0))),
            (11, 30, Beyond(mark(0, 0))),
            (31, 60, Open(mark(2, 2))),
            (40, 50, Read(mark(1, 1))),
            (70, 80, Read(mark(2, 2))),
            (81, 82, Set(mark(3, 1))),
            // Never executed, or never heard of.
            (83, 90, Open(mark(4, 1))),
            (95, 99, Read(mark(3, 1))),
        ]);
        assert_eq!(fine, Ok(()));
    }

    #[test]
    fn each_contradiction_is_found() {
        use Learned::{Beyond, Read, Set};
        let broken: [(&str, &[Moment]); 6] = [
            (
                "it held 1/1/1 and 1/2/1",
                &[(0, 9, Set(mark(1, 1))), (0, 9, Set(mark(1, 2)))],
            ),
            (
                "it held 1/2/1, which nobody set",
                &[(0, 9, Read(mark(1, 2)))],
            ),
            (
                "it held 2/1/1, and nobody set 1",
                &[(0, 9, Set(mark(2, 1)))],
            ),
            (
                "0/0/0 was read after 1 was there",
                &[(0, 9, Set(mark(1, 1))), (10, 11, Read(mark(0, 0)))],
            ),
            (
                "0/0/0 was read after 1 was there",
                &[(0, 9, Beyond(mark(0, 0))), (10, 11, Read(mark(0, 0)))],
            ),
            (
                "1/1/1 was set after 2 was there",
                &[(0, 5, Set(mark(2, 2))), (6, 9, Set(mark(1, 1)))],
            ),
        ];
        for (expected, all) in broken {
            assert_eq!(history(all), Err(expected.to_owned()));
        }
    }
}
