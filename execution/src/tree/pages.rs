//! A map from page ids to pages. Ids are handed out in sequence, so neighbours share a chunk: a map of chunks is small
//! enough to stay in the processor's cache, where a map of pages is not.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use super::page::{Page, PageId};

const CHUNK: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Pages(BTreeMap<u64, Box<[Option<Page>; CHUNK]>>);

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
        let (chunk, at) = place(id);
        self.0.get(&chunk)?[at].as_ref()
    }

    pub(super) fn get_mut(&mut self, id: PageId) -> Option<&mut Page> {
        let (chunk, at) = place(id);
        self.0.get_mut(&chunk)?[at].as_mut()
    }

    pub(super) fn insert(&mut self, id: PageId, page: Page) -> &mut Page {
        let (chunk, at) = place(id);
        let empty = || Box::new([const { None }; CHUNK]);
        self.0.entry(chunk).or_insert_with(empty)[at].insert(page)
    }

    pub(super) fn remove(&mut self, id: PageId) -> Option<Page> {
        let (chunk, at) = place(id);
        let pages = self.0.get_mut(&chunk)?;
        let page = pages[at].take();
        if pages.iter().all(Option::is_none) {
            self.0.remove(&chunk);
        }
        page
    }

    /// All pages, in the order of their ids.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PageId, &mut Page)> {
        self.0.iter_mut().flat_map(|(chunk, pages)| {
            let chunk = chunk * u64::try_from(CHUNK).expect("small");
            let ids = (chunk..).map(|number| {
                let bytes = number.to_be_bytes();
                PageId(bytes[2..].try_into().expect("six of eight bytes"))
            });
            ids.zip(pages.iter_mut())
                .filter_map(|(id, page)| Some((id, page.as_mut()?)))
        })
    }
}
