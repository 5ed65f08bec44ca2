//! A body of `/update` with the right credentials: the value is served, or refused without a word of it.

#![no_main]

use std::cell::OnceCell;

use acmezone::store::now;
use acmezone::zone::Name;
use acmezone_fuzz::house::House;
use axum::http::HeaderMap;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DOOR: OnceCell<(House, HeaderMap, Name)> = const { OnceCell::new() };
}

fuzz_target!(|body: &[u8]| {
    DOOR.with(|door| {
        let (house, headers, name) = door.get_or_init(open);
        let (status, answer) = house.post("/update", headers.clone(), body);
        if status != 200 {
            return;
        }
        let txt = answer.strip_prefix(r#"{"txt": ""#).and_then(|rest| rest.strip_suffix(r#""}"#)).expect("the value");
        assert_eq!(txt.len(), 43);
        let served = house.writer.live().txt_set(&name).expect("values");
        assert!(served.live(now()).any(|value| value.octets() == txt.as_bytes()), "{txt} is not served");
    });
});

fn open() -> (House, HeaderMap, Name) {
    let house = House::default();
    let registration = house.register();
    let mut headers = HeaderMap::new();
    let username = registration.account.username.to_string();
    headers.insert("x-api-user", username.parse().expect("a header"));
    headers.insert("x-api-key", registration.credential.reveal().parse().expect("a header"));
    (house, headers, registration.grant.name().expect("a name"))
}
