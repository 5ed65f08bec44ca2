//! A master file: the origin on the first line, the text after it. What is accepted can be printed and read again.

#![no_main]

use acmezone::zone::master::{self, RecordLine};
use acmezone::zone::{Name, Record, Zone};
use acmezone_fuzz::place::assert_inside;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Ok(input) = std::str::from_utf8(octets) else { return };
    let Some((origin, text)) = input.split_once('\n') else { return };
    let Ok(origin) = Name::parse(origin) else { return };
    let zone = master::read(text, &origin).and_then(|records| {
        records.iter().for_each(|located| {
            assert_inside(text, located.place);
            comes_back(&located.record);
        });
        Zone::from_records(origin.clone(), records)
    });
    match zone {
        Ok(zone) => assert!(zone.node(&origin.key()).is_some()),
        Err(problems) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| assert_inside(text, problem.place));
        }
    }
});

/// A record, written as a line, is the same record when it is read.
fn comes_back(record: &Record) {
    let Record { owner, rtype, ttl, rdata } = record;
    let line = RecordLine { owner, ttl: *ttl, rtype: *rtype, rdata }.to_string();
    assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line:?}");
    match master::read(&line, &Name::root()) {
        Ok(read) => assert!(read.len() == 1 && read[0].record == *record, "{line}: {record:?} became {read:?}"),
        Err(problems) => panic!("{line}: {problems:?}"),
    }
}
