//! What one turn gathers.

use quorate_consensus::{Authorised, Target};
use quorate_storage::{View, WriteBatch};
use quorate_types::{ChainId, Message, Now};

use crate::Ticket;
use crate::output::{Notice, Output, Release, Reply};
use crate::view::Overlay;

/// The turn in progress: the time, the store as it will be, and what is to leave once it is.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    view: Overlay<'a>,
    authorised: Vec<Authorised>,
    sends: Vec<(Target, Message)>,
    replies: Vec<(Ticket, Reply)>,
    notices: Vec<Notice>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(store: &'a dyn View, now: Now) -> Turn<'a> {
        Turn {
            now,
            view: Overlay::new(store),
            authorised: Vec::new(),
            sends: Vec::new(),
            replies: Vec::new(),
            notices: Vec::new(),
        }
    }

    pub(crate) fn view(&self) -> &Overlay<'a> {
        &self.view
    }

    pub(crate) fn write(&mut self, add: impl FnOnce(&mut WriteBatch)) {
        self.view.write(add);
    }

    pub(crate) fn authorise(&mut self, item: Authorised) {
        self.authorised.push(item);
    }

    /// Whether this turn signs a Vote or a CommitVote.
    pub(crate) fn votes(&self) -> bool {
        let vote =
            |item: &Authorised| matches!(item, Authorised::Vote(_) | Authorised::CommitVote(_));
        self.authorised.iter().any(vote)
    }

    pub(crate) fn send(&mut self, to: Target, message: Message) {
        self.sends.push((to, message));
    }

    pub(crate) fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.replies.push((ticket, reply));
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Seals the turn. `held` are the hints that go with its votes.
    pub(crate) fn finish(self, chain: ChainId, held: Vec<u64>) -> Output {
        Output {
            writes: self.view.into_writes(),
            release: Release {
                chain,
                held,
                authorised: self.authorised,
                sends: self.sends,
                replies: self.replies,
                notices: self.notices,
            },
        }
    }
}
