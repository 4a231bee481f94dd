//! A start from a store with anything in it: it starts or says why not, and what starts goes on or stops with an error.
//!
//! An input is a list of damages of six bytes: what, which entry (two bytes), where in it, and two arguments. They are done
//! to the store of a chain that has lived for a while. A real database finds flipped bytes by its checksums; here every
//! checksum holds, so that whatever is noticed is noticed by Quorate itself.

use std::sync::OnceLock;

use quorate_replica::{Input, Replica};
use quorate_storage::{MemStore, Order, Store, Sync, Table, View, WriteBatch};
use quorate_types::message::{BlockRequest, LedgerRequest};
use quorate_types::{Height, Message, Now, ValidatorIndex};

use crate::chain::{self, key, setup};

/// Damages that are done of one input.
const MAX_DAMAGES: usize = 16;
/// Turns that a replica takes that has started.
const TURNS: u64 = 12;

type Entry = (Table, Vec<u8>, Vec<u8>);

struct Base {
    store: MemStore,
    entries: Vec<Entry>,
    now: Now,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let chain = chain::lived();
        let store = chain.store(0).clone();
        let mut entries = Vec::new();
        for table in Table::ALL {
            let found = store.scan(table, b"", None, usize::MAX, Order::Ascending);
            let found = found.expect("a sound disk").into_iter();
            entries.extend(found.map(|(key, value)| (table, key, value)));
        }
        let now = chain.time();
        Base {
            store,
            entries,
            now,
        }
    })
}

/// See the head of this file.
pub fn recovery(bytes: &[u8]) {
    let base = base();
    let mut store = base.store.clone();
    let mut writes = WriteBatch::new();
    for damage in bytes.chunks_exact(6).take(MAX_DAMAGES) {
        let damage: [u8; 6] = damage.try_into().expect("six bytes");
        do_damage(&mut writes, &base.entries, damage);
    }
    store.write(writes, Sync::Yes).expect("a disk in memory");
    live(store, base.now);
}

fn do_damage(writes: &mut WriteBatch, entries: &[Entry], damage: [u8; 6]) {
    let [what, low, high, place, a, b] = damage;
    // The tables differ in size by a thousand: the entry is chosen within a table as often as among all.
    let of_table: Vec<&Entry> = match Table::ALL.get(usize::from(what >> 4)) {
        Some(table) => entries.iter().filter(|(t, _, _)| t == table).collect(),
        None => entries.iter().collect(),
    };
    let chosen = usize::from(u16::from_le_bytes([low, high]));
    let Some(place_of) = chosen.checked_rem(of_table.len()) else {
        return;
    };
    let (table, key, value) = of_table[place_of].clone();
    let at = usize::from(place).checked_rem(value.len()).unwrap_or(0);
    let changed = match what % 8 {
        0 | 1 => with(value, at, |byte| byte ^ (1 << (a % 8))),
        2 => with(value, at, |_| a),
        3 => value[..at].to_vec(),
        4 => {
            let other = (chosen + 1 + usize::from(a)) % of_table.len();
            of_table[other].2.clone()
        }
        5 => return writes.delete(table, key),
        6 => {
            let at = usize::from(b).checked_rem(key.len()).unwrap_or(0);
            return writes.put(table, with(key, at, |byte| byte.wrapping_add(a)), value);
        }
        _ => {
            let mut longer = value;
            longer.extend([a, b]);
            longer
        }
    };
    writes.put(table, key, changed);
}

fn with(mut bytes: Vec<u8>, at: usize, change: impl Fn(u8) -> u8) -> Vec<u8> {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
    bytes
}

/// Starts, answers peers, lets its timers run out.
fn live(mut store: MemStore, mut now: Now) {
    let Ok((mut replica, output)) = Replica::open(setup(Some(0)), &mut store, now) else {
        return;
    };
    let mut inputs = output
        .persist(&mut store)
        .expect("a disk in memory")
        .sign(&key(0))
        .own;
    for turn in 0..TURNS {
        now.monotonic = now.monotonic.plus_nanos(400_000_000);
        now.wall = now.wall.plus_nanos(400_000_000);
        inputs.extend(questions(Height(turn)));
        let Ok(output) = replica.turn(&store, now, std::mem::take(&mut inputs)) else {
            return;
        };
        let released = output.persist(&mut store).expect("a disk in memory");
        inputs = released.sign(&key(0)).own;
    }
}

/// What a peer that is behind asks.
fn questions(height: Height) -> Vec<Input> {
    let entries = &base().entries;
    let ids = entries
        .iter()
        .filter(|(table, _, _)| *table == Table::Blocks);
    let nth = usize::try_from(height.0).expect("small");
    let id = ids.map(|(_, key, _)| key).nth(nth);
    let block = id.and_then(|key| key.as_slice().try_into().ok());
    let block = block.map(|id| {
        Message::BlockRequest(BlockRequest {
            block: quorate_types::BlockId(quorate_types::Digest::from_bytes(id)),
            count: 4,
            above: Height(0),
        })
    });
    let ledger = Message::LedgerRequest(LedgerRequest {
        from: height,
        max_bytes: 1 << 20,
    });
    let setup = setup(None);
    let verify = |message: Message| message.verify(&setup.validators, &setup.parameters).ok();
    let messages = block.into_iter().chain([ledger]).filter_map(verify);
    let from = ValidatorIndex(1);
    let mut inputs: Vec<Input> = messages
        .map(|message| Input::Message { from, message })
        .collect();
    inputs.push(Input::Connected(from));
    inputs
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let damages = |what: u8| -> Vec<u8> {
        (0..6u8)
            .flat_map(|i| [what, i * 37, i, i * 29, i, 1])
            .collect()
    };
    let mut seeds = vec![("nothing".to_owned(), Vec::new())];
    for (number, table) in (0u8..).zip(Table::ALL) {
        for kind in [0, 4, 6] {
            seeds.push((format!("{table}-{kind}"), damages(number << 4 | kind)));
        }
    }
    seeds
}
