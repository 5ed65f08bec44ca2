//! A body of `/register` where everybody may: an account with the list that was asked for, or a refusal.

#![no_main]

use std::cell::RefCell;

use acmezone::account::AllowFrom;
use acmezone::api::CreatedAccount;
use acmezone_fuzz::house::House;
use axum::http::HeaderMap;
use libfuzzer_sys::fuzz_target;

/// Accounts after which a new store begins, so that memory stays bounded.
const ACCOUNTS: usize = 20_000;

thread_local! {
    static DOOR: RefCell<(usize, Option<House>)> = const { RefCell::new((0, None)) };
}

fuzz_target!(|body: &[u8]| {
    DOOR.with_borrow_mut(|(accounts, house)| {
        if *accounts >= ACCOUNTS {
            (*accounts, *house) = (0, None);
        }
        let house = house.get_or_insert_default();
        let (status, answer) = house.post("/register", HeaderMap::new(), body);
        if status != 201 {
            return;
        }
        *accounts += 1;
        let created: CreatedAccount = serde_json::from_str(&answer).expect("an account");
        assert!(house.writer.live().is_registered(&created.fulldomain));
        let list = AllowFrom::parse(&created.allowfrom).expect("a list that reads back");
        assert_eq!(list.entries().collect::<Vec<_>>(), created.allowfrom);
    });
});
