//! What has arrived on a connection and is not answered yet.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reserve;

/// Octets before a message.
const LENGTH: usize = 2;
/// A connection begins with this: enough for a dozen queries, little enough for a thousand idle connections.
const FIRST: usize = 1 << 10;
/// What every connection may take. Beyond that a message is large, and the memory for it is shared.
const OWN: usize = 8 << 10;
/// The longest message with its length.
const LONGEST: usize = LENGTH + u16::MAX as usize;

/// A buffer that grows with what arrives, not with what a length promises.
pub struct Input {
    octets: Vec<u8>,
    start: usize,
    end: usize,
    shared: Arc<Semaphore>,
    /// Held while the buffer is larger than `OWN`.
    reserved: Option<OwnedSemaphorePermit>,
    /// The last read filled the buffer.
    was_full: bool,
}

impl Input {
    pub fn new(shared: Arc<Semaphore>) -> Input {
        Input { octets: Vec::new(), start: 0, end: 0, shared, reserved: None, was_full: false }
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first message, if it is complete.
    pub fn message(&self) -> Option<&[u8]> {
        let (length, rest) = self.octets.get(self.start..self.end)?.split_first_chunk::<LENGTH>()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    }

    /// Takes the first message out.
    pub fn consume(&mut self) {
        if let Some(message) = self.message() {
            self.start += LENGTH + message.len();
        }
    }

    pub fn clear(&mut self) {
        self.start = self.end;
    }

    /// Room for more, never empty while no message is complete. An error if the message that is arriving is large and
    /// there are too many of these.
    pub fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.start > 0 {
            self.octets.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let len = self.octets.len();
        if self.end == len || (self.was_full && len < OWN) {
            let larger = (2 * len).clamp(FIRST, LONGEST);
            if larger > OWN {
                let more = reserve(&self.shared, larger - len).ok_or(io::ErrorKind::OutOfMemory)?;
                match &mut self.reserved {
                    Some(reserved) => reserved.merge(more),
                    None => self.reserved = Some(more),
                }
            }
            self.octets.resize(larger, 0);
        } else if len > OWN && self.end <= OWN / 2 {
            self.octets.truncate(OWN);
            self.octets.shrink_to_fit();
            self.reserved = None;
        }
        self.was_full = false;
        Ok(&mut self.octets[self.end..])
    }

    /// Octets have been read into the room; whether they complete a message.
    pub fn filled(&mut self, octets: usize) -> bool {
        self.end = (self.end + octets).min(self.octets.len());
        self.was_full = self.end == self.octets.len();
        self.message().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(input: &mut Input, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            let room = input.room()?;
            assert!(!room.is_empty());
            let now = room.len().min(octets.len());
            room[..now].copy_from_slice(&octets[..now]);
            input.filled(now);
            octets = &octets[now..];
        }
        Ok(())
    }

    #[test]
    fn the_longest_message_fits_and_its_memory_is_given_back() {
        let shared = Arc::new(Semaphore::new(LONGEST));
        let mut input = Input::new(shared.clone());
        let mut octets = vec![0xff, 0xff];
        octets.resize(LONGEST - 1, 7);
        fill(&mut input, &octets).unwrap();
        assert_eq!(input.message(), None);
        assert!(shared.available_permits() < LONGEST);
        // Nobody else can have a large message now.
        let error = fill(&mut Input::new(shared.clone()), &octets).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        fill(&mut input, &[7]).unwrap();
        assert_eq!(input.message().map(<[u8]>::len), Some(65_535));
        input.consume();
        assert!(input.is_empty() && input.message().is_none());
        assert_eq!(input.room().unwrap().len(), OWN);
        assert_eq!(shared.available_permits(), LONGEST);
    }

    #[test]
    fn messages_come_out_as_they_went_in_wherever_they_are_cut() {
        let messages: Vec<Vec<u8>> = (0..200_usize).map(|number| vec![number as u8; number * 7 % 300]).collect();
        let octets: Vec<u8> = messages
            .iter()
            .flat_map(|message| [&(message.len() as u16).to_be_bytes(), &message[..]].concat())
            .collect();
        for step in [1, 2, 3, 100, 1023, 5000] {
            let mut input = Input::new(Arc::new(Semaphore::new(0)));
            let mut found = Vec::new();
            for piece in octets.chunks(step) {
                fill(&mut input, piece).unwrap();
                while let Some(message) = input.message() {
                    found.push(message.to_vec());
                    input.consume();
                }
            }
            assert!(found == messages && input.is_empty(), "in pieces of {step}");
        }
    }
}
