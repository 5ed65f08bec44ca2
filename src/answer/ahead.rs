//! Many messages at once: while one is answered, what the next ones will be looked up in comes from memory.
//!
//! Among a million names a look-up waits twice for memory, longer than all the rest of an answer takes. So all messages
//! are read first, each asking the processor for the place of its name; and with each one that is answered, one further
//! on asks for what is kept there.

use super::query::{self, LowerName, Message, Query};
use super::{Context, Verdict, reply};
use crate::zone::{Live, View};

/// Most messages that are read before the first of them is answered.
pub const BATCH: usize = 64;

/// How many messages further on: enough for memory to come in time, and few enough for the processor to remember.
const FURTHER: usize = 8;

/// Room for the names of so many messages, to be used again and again.
pub struct ReadAhead(Box<[LowerName]>);

/// A message that has been read.
pub struct Asked<'a> {
    view: &'a View<'a>,
    packet: &'a [u8],
    message: &'a Message<'a>,
}

impl Asked<'_> {
    /// As [`answer`](super::answer).
    pub fn answer(&self, context: &Context<'_>, out: &mut Vec<u8>) -> Verdict {
        reply(self.view, context, self.packet, self.message, out)
    }

    pub fn packet(&self) -> &[u8] {
        self.packet
    }
}

impl ReadAhead {
    #[expect(clippy::new_without_default, reason = "large, so made on purpose")]
    pub fn new() -> ReadAhead {
        ReadAhead((0..BATCH).map(|_| LowerName::new()).collect())
    }

    /// Reads the packets, at most [`BATCH`] of them, then gives each with its index to `each`.
    pub fn read<'p>(
        &mut self,
        live: &Live,
        packets: impl Iterator<Item = &'p [u8]>,
        mut each: impl FnMut(usize, Asked<'_>),
    ) {
        let view = &live.view();
        let mut read = [const { None }; BATCH];
        let mut count = 0;
        for ((packet, name), read) in packets.zip(&mut self.0).zip(&mut read) {
            let message = query::read(packet, name);
            if let Message::Query(Query { key, .. }) = &message {
                view.prefetch_slot(key);
            }
            *read = Some((packet, message));
            count += 1;
        }
        let fetch = |index: usize| {
            if let Some(Some((_, Message::Query(Query { key, .. })))) = read.get(index) {
                view.prefetch_block(key);
            }
        };
        (0..FURTHER).for_each(fetch);
        for (index, (packet, message)) in read[..count].iter().flatten().enumerate() {
            fetch(index + FURTHER);
            each(index, Asked { view, packet, message });
        }
    }
}
