//! A map from page ids to pages. Ids are handed out in sequence, so neighbours share a chunk: a table of chunks is small
//! enough to stay in the processor's nearest cache, where one of pages is not. Which pages there are decides the order of the
//! table and nothing else, so nothing may depend on that order.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::page::{Page, PageId};

const CHUNK: usize = 32;

/// Slots at first.
const FEW: usize = 64;

/// Pages of [`CHUNK`] ids from a multiple of it, with the quotient.
type Chunk = (u64, Box<[Option<Page>; CHUNK]>);

/// A chunk stands in the slot that its number leads to, or in the next free one behind it. At most half of the slots are
/// taken.
#[derive(Debug)]
pub(super) struct Pages {
    /// As many as a power of two.
    slots: Vec<Option<Chunk>>,
    taken: usize,
}

impl Default for Pages {
    fn default() -> Pages {
        Pages {
            slots: free(FEW),
            taken: 0,
        }
    }
}

fn free(count: usize) -> Vec<Option<Chunk>> {
    (0..count).map(|_| None).collect()
}

fn place(id: PageId) -> (u64, usize) {
    let mut bytes = [0; 8];
    bytes[2..].copy_from_slice(&id.0);
    let number = u64::from_be_bytes(bytes);
    let chunk = u64::try_from(CHUNK).expect("small");
    let at = usize::try_from(number % chunk).expect("smaller than a chunk");
    (number / chunk, at)
}

impl Pages {
    pub(super) fn get(&self, id: PageId) -> Option<&Page> {
        let (number, at) = place(id);
        self.slots[self.slot(number)].as_ref()?.1[at].as_ref()
    }

    pub(super) fn get_mut(&mut self, id: PageId) -> Option<&mut Page> {
        let (number, at) = place(id);
        let slot = self.slot(number);
        self.slots[slot].as_mut()?.1[at].as_mut()
    }

    /// The page, which `read` brings if it is not here.
    pub(super) fn get_or<E>(
        &mut self,
        id: PageId,
        read: impl FnOnce() -> Result<Page, E>,
    ) -> Result<&mut Page, E> {
        match self.cell(id) {
            Some(page) => Ok(page),
            none => Ok(none.insert(read()?)),
        }
    }

    pub(super) fn insert(&mut self, id: PageId, page: Page) {
        *self.cell(id) = Some(page);
    }

    pub(super) fn remove(&mut self, id: PageId) -> Option<Page> {
        let (number, at) = place(id);
        let slot = self.slot(number);
        let (_, pages) = self.slots[slot].as_mut()?;
        let page = pages[at].take();
        if pages.iter().all(Option::is_none) {
            self.vacate(slot);
        }
        page
    }

    /// All pages, in no order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PageId, &mut Page)> {
        self.slots.iter_mut().flatten().flat_map(|(number, pages)| {
            let first = *number * u64::try_from(CHUNK).expect("small");
            let ids = (first..).map(|number| {
                let bytes = number.to_be_bytes();
                PageId(bytes[2..].try_into().expect("six of eight bytes"))
            });
            ids.zip(pages.iter_mut())
                .filter_map(|(id, page)| Some((id, page.as_mut()?)))
        })
    }

    /// Where the page is or is to be.
    fn cell(&mut self, id: PageId) -> &mut Option<Page> {
        let (number, at) = place(id);
        let mut slot = self.slot(number);
        if self.slots[slot].is_none() {
            if 2 * self.taken >= self.slots.len() {
                self.grow();
                slot = self.slot(number);
            }
            self.taken += 1;
        }
        let empty = || (number, Box::new([const { None }; CHUNK]));
        &mut self.slots[slot].get_or_insert_with(empty).1[at]
    }

    /// The slot of a chunk, or the one that it would get.
    fn slot(&self, number: u64) -> usize {
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mask = self.slots.len() - 1;
        let mut slot = usize::try_from(hash).expect("32 bits") & mask;
        while let Some((other, _)) = &self.slots[slot]
            && *other != number
        {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Drops the chunk in a slot. Those behind it, up to the next free slot, may stand there because it was taken.
    fn vacate(&mut self, mut slot: usize) {
        self.slots[slot] = None;
        self.taken -= 1;
        let mask = self.slots.len() - 1;
        loop {
            slot = (slot + 1) & mask;
            let Some(chunk) = self.slots[slot].take() else {
                return;
            };
            self.put(chunk);
        }
    }

    fn put(&mut self, chunk: Chunk) {
        let slot = self.slot(chunk.0);
        self.slots[slot] = Some(chunk);
    }

    fn grow(&mut self) {
        let more = free(2 * self.slots.len());
        let before = core::mem::replace(&mut self.slots, more);
        before.into_iter().flatten().for_each(|c| self.put(c));
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::super::tests::Rng;
    use super::*;

    fn id(number: usize) -> PageId {
        let bytes = u64::try_from(number).unwrap().to_be_bytes();
        PageId(bytes[2..].try_into().unwrap())
    }

    fn page(used: u64) -> Page {
        let mut page = Page::default();
        page.used = used;
        page
    }

    /// Ids side by side, as new pages have them, and far apart, as those that have stayed for long.
    #[test]
    fn it_is_a_map() {
        let mut rng = Rng(3);
        let (mut pages, mut model) = (Pages::default(), BTreeMap::new());
        for round in 0..60_000_u64 {
            let near = id(rng.below(1 << 10));
            let far = id((rng.below(1 << 9) << 38) + rng.below(40));
            let id = if rng.below(2) == 0 { near } else { far };
            // Fills, then empties.
            let removes = if round < 30_000 { 1 } else { 3 };
            match rng.below(6) {
                dice if dice < removes => {
                    let removed = pages.remove(id).map(|page| page.used);
                    assert_eq!(removed, model.remove(&id));
                }
                3 => {
                    pages.insert(id, page(round));
                    model.insert(id, round);
                }
                4 => {
                    let found = pages.get_or(id, || Ok::<_, ()>(page(round)));
                    assert_eq!(found.unwrap().used, *model.entry(id).or_insert(round));
                }
                _ => {
                    let expected = model.get(&id).copied();
                    assert_eq!(pages.get(id).map(|page| page.used), expected);
                    assert_eq!(pages.get_mut(id).map(|page| page.used), expected);
                }
            }
            assert!(2 * pages.taken <= pages.slots.len());
        }
        let all: BTreeMap<_, _> = pages.iter_mut().map(|(id, p)| (id, p.used)).collect();
        assert_eq!(all, model);
        for id in all.keys() {
            assert!(pages.remove(*id).is_some());
        }
        assert_eq!(pages.taken, 0);
        assert!(pages.slots.iter().all(Option::is_none), "no memory is kept");
    }
}
