//! Names and TXT values: every form comes back from every other.

#![no_main]

use acmezone::zone::{Label, MAX_NAME, Name, TxtValue, wire_len};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    wire(octets);
    value(TxtValue::new(octets).ok());
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Ok(name) = Name::parse(text) {
        sound(&name);
        assert_eq!(text.parse(), Ok(name));
    }
    value(text.parse().ok());
    if let Ok(label) = Label::parse(text) {
        let name = Name::root().child(label.as_str().as_bytes()).expect("a label is a name");
        assert_eq!((Name::parse(text), name.to_string().as_str()), (Ok(name), text));
    }
});

/// Another implementation takes the same octets for a name.
fn wire(octets: &[u8]) {
    let name = Name::from_wire(octets);
    assert_eq!(name.is_ok(), domain::base::Name::from_octets(octets).is_ok(), "{octets:?}");
    if let Ok(name) = &name {
        assert_eq!(name.as_wire(), octets.to_ascii_lowercase());
        sound(name);
    }
    if let Some(len) = wire_len(octets) {
        assert!(Name::from_wire(&octets[..len]).is_ok());
    }
}

fn sound(name: &Name) {
    assert!(name.as_wire().len() <= MAX_NAME && wire_len(name.as_wire()) == Some(name.as_wire().len()));
    assert_eq!(Name::from_wire(name.as_wire()).as_ref(), Ok(name));
    let text = name.to_string();
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    assert_eq!(Name::parse(&text).as_ref(), Ok(name));
    if !name.is_root() {
        assert_eq!(Name::parse(&format!("{text}.")).as_ref(), Ok(name));
    }
    let mut labels: Vec<&[u8]> = name.labels().collect();
    labels.reverse();
    let built = labels.iter().try_fold(Name::root(), |name, label| name.child(label));
    assert_eq!(built.as_ref(), Ok(name));
    assert_eq!(name.parent().is_none(), name.is_root());
    if let Some(parent) = name.parent() {
        assert!(name.is_below(&parent) && !parent.is_at_or_below(name));
    }
}

fn value(value: Option<TxtValue>) {
    let Some(value) = value else { return };
    let text = value.to_string();
    assert!(text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{text:?}");
    assert_eq!(text.parse().as_ref(), Ok(&value));
    assert_eq!(value.strings().flatten().copied().collect::<Vec<_>>(), value.octets());
    assert_eq!(value.strings().map(|string| 1 + string.len()).sum::<usize>(), value.rdata_len());
}
