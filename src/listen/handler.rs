//! The handler of every message, also of the rare ones. A plain query gets the very answer that it would have got where it
//! arrived; UPDATE and whatever is signed is for `signed.rs`; NOTIFY hickory parses, and we decide.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_server::net::runtime::{Time, TokioTime};
use hickory_server::net::{NetError, xfer::Protocol};
use hickory_server::proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::Record;
use hickory_server::proto::rr::rdata::opt::EdnsOption;
use hickory_server::proto::serialize::binary::BinEncoder;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};

use super::Answerer;
use super::signed::{Handled, Updates};
use super::throttle::Throttle;
use crate::answer::{
    COOKIE_OPTION, COOKIE_REPLY, ExtendedError, Frame, HEADER, Rcode, Transport, UDP_PAYLOAD, UDP_PLAIN, Verdict,
    refuse,
};

/// Answers also what `answer()` does not take.
#[derive(Debug)]
pub struct Rare {
    answerer: Answerer,
    pub(super) updates: Updates,
    dropped: AtomicU64,
    told: Throttle,
}

impl Rare {
    pub fn new(answerer: Answerer) -> Rare {
        Rare { answerer, updates: Updates::default(), dropped: AtomicU64::new(0), told: Throttle::default() }
    }

    /// With keys that updates are signed with; without them every update is refused.
    pub fn with_updates(self, updates: Updates) -> Rare {
        Rare { updates, ..self }
    }

    /// Answers what is not rare.
    pub fn answerer(&self) -> &Answerer {
        &self.answerer
    }

    /// The reply to any message; `None` for silence. `now` is in milliseconds since 1970.
    pub async fn handle(&self, packet: Vec<u8>, peer: SocketAddr, protocol: Protocol, now: u64) -> Option<Vec<u8>> {
        let transport = if protocol == Protocol::Udp { Transport::Udp } else { Transport::Tcp };
        let mut reply = Vec::new();
        // It also checks the header, before hickory allocates what that promises.
        match self.answerer.answer(&packet, peer.ip(), transport, now, &mut reply) {
            Verdict::Reply => return Some(reply),
            Verdict::Silence => return None,
            Verdict::Rare => {}
        }
        match self.signed(packet, peer, protocol, now).await {
            Handled::Reply(reply) => reply,
            Handled::Left(packet) => self.left(packet, peer, protocol, now).await,
        }
    }

    /// The reply to what is rare, and neither signed nor an UPDATE.
    pub(super) async fn left(
        &self,
        packet: Vec<u8>,
        peer: SocketAddr,
        protocol: Protocol,
        now: u64,
    ) -> Option<Vec<u8>> {
        let mut reply = Vec::new();
        let header: [u8; HEADER] = *packet.first_chunk()?;
        let refusing = Refusing { cookie: self.cookie(&packet, peer, now) };
        let Ok(request) = Request::from_bytes(packet, peer, protocol) else {
            refuse(&header, Rcode::FORMERR, &mut reply);
            return Some(reply);
        };
        let reply = Reply { octets: Arc::default(), protocol };
        refusing.handle_request::<_, TokioTime>(&request, reply.clone()).await;
        let octets = std::mem::take(&mut *reply.octets.lock().unwrap_or_else(PoisonError::into_inner));
        (!octets.is_empty()).then_some(octets)
    }

    /// The COOKIE option of the reply to a message. `now` is in milliseconds since 1970.
    pub(super) fn cookie(&self, packet: &[u8], peer: SocketAddr, now: u64) -> Option<[u8; COOKIE_REPLY]> {
        Frame::read(packet)?.cookie(&self.answerer.cookies, peer.ip(), now / 1_000)
    }

    /// Counts a rare message that found no place to wait, and says so in the log now and then. `now` is in milliseconds
    /// since 1970.
    pub(super) fn dropped_one(&self, now: u64) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if let Some(messages) = self.told.count(now / 1_000) {
            tracing::warn!(messages, "too many UPDATE, NOTIFY and signed messages at a time: dropped some");
        }
    }

    /// How many rare messages have been dropped since the start because too many were waiting.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Refuses every message, with this COOKIE option.
struct Refusing {
    cookie: Option<[u8; COOKIE_REPLY]>,
}

#[async_trait::async_trait]
impl RequestHandler for Refusing {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = false;
        metadata.response_code = match &request.edns {
            Some(asked) if asked.version() != 0 => ResponseCode::BADVERS,
            _ => ResponseCode::Refused,
        };
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD).set_version(0); // what this server takes (RFC 6891 section 6.2.3)
            edns.set_dnssec_ok(asked.flags().dnssec_ok).set_rcode_high(metadata.response_code.high());
            if let Some(cookie) = &self.cookie {
                edns.options_mut().insert(EdnsOption::Unknown(COOKIE_OPTION, cookie.to_vec()));
            }
            if metadata.response_code == ResponseCode::Refused {
                let (code, reason) = ExtendedError::PROHIBITED.option();
                edns.options_mut().insert(EdnsOption::Unknown(code, reason.to_vec()));
            }
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        match reply.send_response(builder.build_no_records(metadata)).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "answering a rare message");
                ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
            }
        }
    }
}

/// Keeps the octets of the response instead of sending them.
#[derive(Clone)]
struct Reply {
    octets: Arc<Mutex<Vec<u8>>>,
    protocol: Protocol,
}

#[async_trait::async_trait]
impl ResponseHandler for Reply {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut octets = Vec::with_capacity(usize::from(UDP_PLAIN));
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(match self.protocol {
            Protocol::Udp => UDP_PLAIN, // header, the longest question and OPT are shorter
            _ => u16::MAX,
        });
        let info = response.destructive_emit(&mut encoder)?;
        *self.octets.lock().unwrap_or_else(PoisonError::into_inner) = octets;
        Ok(info)
    }
}
