//! Tables that say where to listen, `[dns]`, `[api]` and `[admin]`: what they have in common.

use std::net::SocketAddr;

use super::read::{At, Complaint, List, Reader, Span, Table};
use super::value::listen_address;
use crate::zone::Name;

/// Connections that one process may have.
const MAX_CONNECTIONS: usize = 65_536;

/// A table with addresses, and where these were written; defaults were written nowhere.
pub(super) struct Listening<T> {
    pub config: T,
    pub listen: Vec<(SocketAddr, Option<Span>)>,
    /// Only `[dns]` has such addresses.
    pub tls: Vec<(SocketAddr, Option<Span>)>,
    /// `[api]` has `tls`, well or badly.
    pub encrypted: bool,
    pub zone: Option<At<Name>>,
    pub hostname: Option<At<Name>>,
    /// `tls = "acme"` of `[api]`.
    pub acme: Option<Span>,
}

impl<T> Listening<T> {
    pub fn new(config: T, defaults: &[SocketAddr], written: Option<Vec<At<SocketAddr>>>) -> Listening<T> {
        let listen = match written {
            None => defaults.iter().map(|address| (*address, None)).collect(),
            Some(written) => written.into_iter().map(|at| (at.value, Some(at.span))).collect(),
        };
        Listening { config, listen, tls: Vec::new(), encrypted: false, zone: None, hostname: None, acme: None }
    }
}

/// Addresses to listen on; `Some` if the key is written.
pub(super) fn listen(key: &'static str, table: &mut Table, reader: &mut Reader) -> Option<List<SocketAddr>> {
    let listen = table.strings(key, reader, listen_address)?;
    // port 0 is another port each time
    reader.distinct(listen.items.iter().filter(|at| at.value.port() != 0), |address| format!("the address {address}"));
    Some(listen)
}

/// How many connections there may be.
pub(super) fn connections(key: &'static str, default: usize, table: &mut Table, reader: &mut Reader) -> usize {
    let Some(At { value, span }) = table.integer(key, reader) else { return default };
    match usize::try_from(value) {
        Ok(number @ 1..=MAX_CONNECTIONS) => number,
        _ => {
            let complaint = format!("`{key}` is from 1 to {MAX_CONNECTIONS}, not {value}");
            reader.refuse(&span, Complaint::new(complaint));
            default
        }
    }
}
