//! Exactly once (X1, I7): which of a client's sequence numbers were used, by which transaction, with its answer where.
//!
//! A number that was used is remembered in a chunk of [`CHUNK`] numbers. A client's head holds the floor, below which
//! numbers are [`Rejection::TooOld`](quorate_types::Rejection::TooOld), and the time up to which the session is needed.
//!
//! * Numbers may come in any order and leave gaps. The floor stays at least `session_window` − 1 below the highest
//!   number used, rounded down to a chunk; a number far ahead takes the floor with it, and chunks below it are dropped.
//! * A session is dropped as a whole, head and floor included, when the `valid_until` of everything it has ever held
//!   is over: then nothing that was executed can come again. Dropping single chunks would be wrong: with the chunk of
//!   the highest number goes the floor, which is all that guards the numbers whose chunks it had pushed out.
//! * Both head and index are written once a chunk and once a [`BUCKET_NS`] a client, not once a transaction.

use alloc::vec::Vec;

use quorate_mutants::{Mutant, mutant};
use quorate_types::codec::DecodeError;
use quorate_types::{BlockTime, Height, PublicKey, TransactionId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::executor::ExecuteError;
use crate::keys;
use crate::overlay::Overlay;
use crate::recent::{Recalled, Recent};
use crate::record;
use crate::space::Reader;

/// Numbers in a chunk. A client that sends one transaction a block rewrites half a chunk (360 bytes) each time; one that
/// sends many fills several at once, and pays one key of the tree for sixteen numbers.
pub const CHUNK: u64 = 16;

/// Granularity of the time at which a session is dropped, in nanoseconds: it outlives its last entry by less.
pub const BUCKET_NS: u64 = 64_000_000_000;

/// Records that one block drops at most from sessions that are over. A session has at most window / [`CHUNK`] + 4.
pub const SWEEP_RECORDS: usize = 64;

/// A used number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The number, modulo [`CHUNK`].
    pub offset: u8,
    /// By which transaction.
    pub transaction: TransactionId,
    /// Where its receipt is.
    pub height: Height,
    /// Where in the block.
    pub index: u32,
}

/// What a client's session needs besides its chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Lowest number that may still be used; a multiple of [`CHUNK`].
    pub floor: u64,
    /// The session is needed until this bucket of time is over.
    pub bucket: u64,
}

/// What is known of a transaction's number.
pub(crate) enum Standing {
    /// Not used.
    Fresh,
    /// Used by this transaction.
    Known { height: Height, index: u32 },
    /// Used by another.
    Reused,
    /// Below the floor.
    TooOld,
}

/// The session's part that one number is about.
pub(crate) struct Session {
    client: PublicKey,
    sequence: u64,
    head: Option<Head>,
    /// By what the number was used.
    used: Option<Used>,
    /// The numbers of its chunk, unless they are recalled.
    read: Option<Vec<Used>>,
}

impl Session {
    pub(crate) fn load<R: Reader>(
        state: &Overlay<'_, R>,
        recent: &Recent,
        client: PublicKey,
        sequence: u64,
    ) -> Result<Session, ExecuteError<R::Error>> {
        let recalled = recent.get(&client);
        let head = match recalled {
            Some(recalled) => Some(recalled.head),
            None => read(state, &keys::session_head(&client))?,
        };
        let recalled = recalled.filter(|recalled| recalled.chunk == sequence / CHUNK);
        let read = match recalled {
            Some(_) => None,
            None => {
                let key = keys::session_chunk(&client, sequence / CHUNK);
                Some(read(state, &key)?.unwrap_or_default())
            }
        };
        let mut numbers = recalled
            .map_or(read.as_ref(), |recalled| Some(&recalled.used))
            .into_iter()
            .flatten();
        let used = numbers.find(|used| used.offset == offset(sequence));
        Ok(Session {
            client,
            sequence,
            head,
            used: used.copied(),
            read,
        })
    }

    pub(crate) fn standing(&self, transaction: TransactionId) -> Standing {
        let floor = self.head.unwrap_or_default().floor;
        match &self.used {
            _ if self.sequence < floor => Standing::TooOld,
            _ if mutant(Mutant::EverythingTooOld) && self.head.is_some() => Standing::TooOld,
            Some(used) if used.transaction == transaction => Standing::Known {
                height: used.height,
                index: used.index,
            },
            Some(_) if mutant(Mutant::NumberTakenTwice) => Standing::Fresh,
            Some(_) => Standing::Reused,
            None => Standing::Fresh,
        }
    }

    /// Notes that the number is used. Nothing may have been noted of the client since the session was loaded.
    pub(crate) fn consume<R: Reader>(
        self,
        state: &mut Overlay<'_, R>,
        recent: &mut Recent,
        used: (TransactionId, Height, u32),
        valid_until: BlockTime,
        window: u64,
    ) -> Result<(), ExecuteError<R::Error>> {
        let (transaction, height, index) = used;
        let offset = offset(self.sequence);
        assert!(
            self.used.is_none() || mutant(Mutant::NumberTakenTwice),
            "I7: a number is used once"
        );
        let head = self.move_head(state, valid_until, window)?;
        if mutant(Mutant::SessionNotKept) {
            return Ok(());
        }
        let chunk = self.sequence / CHUNK;
        let recalled = match self.read {
            Some(used) => recent.put(self.client, Recalled { head, chunk, used }),
            None => recent.get_mut(&self.client).expect("it was recalled"),
        };
        recalled.head = head;
        let used = Used {
            offset,
            transaction,
            height,
            index,
        };
        let numbers = &mut recalled.used;
        let at = numbers.partition_point(|used| used.offset < offset);
        numbers.insert(at, used);
        let key = keys::session_chunk(&self.client, chunk);
        state.set(key, Some(record::seal(numbers)));
        Ok(())
    }

    /// Raises the floor and the end of the session as the number demands. Returns the head that is in force.
    fn move_head<R: Reader>(
        &self,
        state: &mut Overlay<'_, R>,
        valid_until: BlockTime,
        window: u64,
    ) -> Result<Head, ExecuteError<R::Error>> {
        let old = self.head.unwrap_or_default();
        let lowest = self.sequence.saturating_sub(window.saturating_sub(1));
        let new = Head {
            floor: old.floor.max(lowest - lowest % CHUNK)
                * u64::from(!mutant(Mutant::WindowNotKept)),
            bucket: old.bucket.max(valid_until.0 / BUCKET_NS),
        };
        if Some(new) == self.head {
            return Ok(new);
        }
        if new.floor > old.floor {
            let from = keys::session_chunk(&self.client, old.floor / CHUNK);
            let to = keys::session_chunk(&self.client, new.floor / CHUNK);
            // All of them: none was ever further above the old floor than a window.
            let most = usize::try_from(window / CHUNK + 2).unwrap_or(usize::MAX);
            for (key, _) in state.scan(&from, &to, most)? {
                state.set(key, None);
            }
        }
        if self.head.is_none() || new.bucket != old.bucket {
            if self.head.is_some() {
                state.set(keys::expiry(old.bucket, &self.client), None);
            }
            let entry = keys::expiry(new.bucket, &self.client);
            state.set(entry, Some(record::seal(&())));
        }
        state.set(keys::session_head(&self.client), Some(record::seal(&new)));
        Ok(new)
    }
}

/// Place of a number in its chunk.
fn offset(sequence: u64) -> u8 {
    u8::try_from(sequence % CHUNK).expect("below 16")
}

/// Drops sessions that are over, up to [`SWEEP_RECORDS`] records. What is left of a session when the budget ends is in
/// force until a later block goes on: chunks go first and the head last, so that the floor outlives what it guards.
///
/// Looks once a bucket of time: whatever is executed later is valid, and its session needed, beyond the block's time.
pub(crate) fn sweep<R: Reader>(
    state: &mut Overlay<'_, R>,
    recent: &mut Recent,
    time: BlockTime,
) -> Result<(), ExecuteError<R::Error>> {
    let bucket = time.0 / BUCKET_NS;
    if bucket == recent.swept {
        return Ok(());
    }
    let mut budget = SWEEP_RECORDS;
    let first = keys::expiry(0, &PublicKey::from_bytes_unchecked([0; 32]));
    let over = keys::expiry(bucket, &PublicKey::from_bytes_unchecked([0; 32]));
    while budget > 1 {
        let next = state.scan(&first, &over, 1)?;
        let Some((entry, _)) = next.into_iter().next() else {
            recent.swept = bucket;
            return Ok(());
        };
        let client = entry.last_chunk().ok_or(ExecuteError::Damaged)?;
        let client = PublicKey::from_bytes_unchecked(*client);
        let head: Option<Head> = read(state, &keys::session_head(&client))?;
        if head.is_some_and(|head| head.bucket >= bucket) {
            // Builds before this rule left entries of sessions that have begun again since, and are needed.
            state.set(entry, None);
            budget -= 1;
            continue;
        }
        recent.forget(&client);
        let prefix = keys::session(&client);
        let records = state.scan(&prefix, &keys::behind(&prefix), budget)?;
        if records.len() >= budget {
            // The head goes with the list's entry, in a later block: a client that came back in between would begin a
            // session that is on the list of those that are over.
            let head = keys::session_head(&client);
            for (key, _) in records.into_iter().filter(|(key, _)| *key != head) {
                state.set(key, None);
            }
            return Ok(());
        }
        budget -= records.len() + 1;
        for (key, _) in records {
            state.set(key, None);
        }
        state.set(entry, None);
    }
    Ok(())
}

fn read<R: Reader, T: DeserializeOwned>(
    state: &Overlay<'_, R>,
    key: &[u8],
) -> Result<Option<T>, ExecuteError<R::Error>> {
    let record = state.get(key).map_err(ExecuteError::Source)?;
    Ok(record.map(|record| record::unseal(&record)).transpose()?)
}

impl<E> From<DecodeError> for ExecuteError<E> {
    fn from(_: DecodeError) -> ExecuteError<E> {
        ExecuteError::Damaged
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::outlines::Outlines;
    use crate::overlay::tests::state_of;

    /// Where a step ends with a session's last record, that is the head: it goes with the list's entry, in the next step.
    #[test]
    fn a_head_goes_with_its_entry_of_the_list() {
        let client = PublicKey::from_bytes_unchecked([7; 32]);
        let (head, entry) = (keys::session_head(&client), keys::expiry(3, &client));
        let over = Head {
            floor: 0,
            bucket: 3,
        };
        let chunks = (1..).map(|n| keys::session_chunk(&client, n));
        let chunks = chunks.take(SWEEP_RECORDS - 1);
        let mut records: BTreeMap<_, _> = chunks.map(|chunk| (chunk, Vec::from([0]))).collect();
        records.insert(head.clone(), record::seal(&over));
        records.insert(entry.clone(), record::seal(&()));
        let (records, mut tree) = state_of(records);
        let outlines = Outlines::default();
        let mut state = Overlay::new(&records, &outlines, &mut tree);
        for there in [true, false] {
            sweep(&mut state, &mut Recent::default(), BlockTime(5 * BUCKET_NS)).unwrap();
            for key in [&head, &entry] {
                assert_eq!(state.get(key).unwrap().is_some(), there);
            }
        }
    }

    /// Whatever else the list says, a session goes only if its head says that it is over. Builds before that rule left such
    /// entries, and no transaction can make one any more.
    #[test]
    fn a_session_that_is_needed_outlives_a_stale_entry_of_the_list() {
        let client = PublicKey::from_bytes_unchecked([7; 32]);
        let (head, stale) = (keys::session_head(&client), keys::expiry(3, &client));
        let needed = Head {
            floor: 0,
            bucket: 9,
        };
        let records = [
            (head.clone(), record::seal(&needed)),
            (stale.clone(), record::seal(&())),
        ];
        let (records, mut tree) = state_of(records.into());
        let outlines = Outlines::default();
        let mut state = Overlay::new(&records, &outlines, &mut tree);
        sweep(&mut state, &mut Recent::default(), BlockTime(5 * BUCKET_NS)).unwrap();
        assert_eq!(state.get(&stale), Ok(None));
        assert_eq!(state.get(&head), Ok(Some(record::seal(&needed))));
    }
}
