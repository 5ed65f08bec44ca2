//! `[[zone]]`, with the master files.

use std::path::{Path, PathBuf};

use super::read::{At, Complaint, List, Reader, Table, text_of, values};
use super::value::{domain_name, host_name, relative, unreadable};
use super::{ZoneConfig, ZoneSource};
use crate::zone::{Name, Zone, master};

/// The zones that could be read, and the origins of all of them; `None` for an origin that is wrong.
pub(super) fn zones(top: &mut Table, base: &Path, reader: &mut Reader) -> (Vec<ZoneConfig>, Vec<Option<At<Name>>>) {
    let tables = top.tables("zone", "[[zone]]", reader);
    if tables.as_ref().is_some_and(Vec::is_empty) {
        let complaint = Complaint::new("there is no [[zone]], nothing would be served");
        reader.refuse(&top.span, complaint.help("add a [[zone]] with `origin` and `file` or `nameservers`"));
    }
    let mut zones = Vec::new();
    let mut origins = Vec::new();
    for mut table in tables.unwrap_or_default() {
        table.require("origin", "\"auth.example.org\"", reader);
        let origin = table.string("origin", reader, domain_name);
        let found = match (table.has("file"), table.has("nameservers")) {
            (true, true) => {
                let complaint = Complaint::new("[[zone]] has both `file` and `nameservers`");
                reader
                    .refuse(&table.span, complaint.help("name servers are NS records of the file: drop `nameservers`"));
                None
            }
            (false, false) => {
                let complaint = Complaint::new("[[zone]] has neither `file` nor `nameservers`");
                let help =
                    "add `file = \"…\"`, a master file, or `nameservers = [\"…\"]`, from which the SOA and NS are made";
                reader.refuse(&table.span, complaint.help(help));
                None
            }
            _ => Some(()),
        };
        let file = table.string("file", reader, |text| relative(base, text));
        let nameservers = table.strings("nameservers", reader, host_name);
        let zone = found.and_then(|()| match (&origin, file, nameservers) {
            (origin, Some(file), _) => zone_of_file(origin.as_ref()?, file, reader),
            (origin, _, Some(nameservers)) => zone_of_nameservers(origin.as_ref(), &nameservers, reader),
            _ => None,
        });
        zones.extend(zone);
        origins.push(origin);
        table.finish(reader);
    }
    reader.distinct(origins.iter().flatten(), |origin| format!("the zone {origin}"));
    (zones, origins)
}

fn zone_of_file(origin: &At<Name>, file: At<PathBuf>, reader: &mut Reader) -> Option<ZoneConfig> {
    let At { value: file, span } = file;
    let text = match text_of(&file) {
        Ok(text) => text,
        Err(problem) if problem.place.is_none() => {
            reader.refuse(&span, unreadable(&file, &problem.message));
            return None;
        }
        Err(problem) => {
            reader.refuse_named(*problem);
            return None;
        }
    };
    let zone = master::read(&text, &origin.value).and_then(|records| Zone::from_records(origin.value.clone(), records));
    match zone {
        Ok(zone) => Some(ZoneConfig { zone, source: ZoneSource::File(file) }),
        Err(problems) => {
            reader.refuse_zone(&file, &text, problems);
            None
        }
    }
}

fn zone_of_nameservers(origin: Option<&At<Name>>, nameservers: &List<Name>, reader: &mut Reader) -> Option<ZoneConfig> {
    reader.distinct(&nameservers.items, |name| format!("the name server {name}"));
    if nameservers.written == 0 {
        let complaint = Complaint::new("a zone needs a name server");
        reader.refuse(&nameservers.span, complaint.help("name the host of this server as the parent zone does"));
    }
    let origin = origin?;
    for at in &nameservers.items {
        if at.value.is_at_or_below(&origin.value) {
            let complaint =
                Complaint::new(format!("the name server {} lies in this zone, which has no address for it", at.value));
            reader.refuse(&at.span, complaint.help("take a name outside the zone, or write the zone as a `file`"));
        }
    }
    let names = values(&nameservers.items);
    match Zone::from_nameservers(origin.value.clone(), &names) {
        Ok(zone) => Some(ZoneConfig { zone, source: ZoneSource::Nameservers(names) }),
        Err(problems) => {
            // without a name server there is no SOA either; that was said above
            for problem in problems.into_iter().filter(|_| !names.is_empty()) {
                reader.refuse(&origin.span, Complaint::new(problem.message));
            }
            None
        }
    }
}
