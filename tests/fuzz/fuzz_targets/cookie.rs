//! Server cookies (RFC 9018) of any secret, client and time: what is handed out is good for its client, with its secret
//! and for its time, and for nobody else.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acmezone::answer::{Cookie, CookieState, Cookies};
use libfuzzer_sys::fuzz_target;

/// RFC 9018 section 4.3, seconds.
const LIFETIME: u32 = 3_600;
const AHEAD: u32 = 300;

fuzz_target!(|input: &[u8]| {
    let Some((secret, rest)) = input.split_first_chunk::<16>() else { return };
    let Some((other_secret, rest)) = rest.split_first_chunk::<16>() else { return };
    let Some((client, rest)) = address(rest) else { return };
    let Some((other_client, rest)) = address(rest) else { return };
    let Some((now, rest)) = rest.split_first_chunk::<8>() else { return };
    let Some((age, option)) = rest.split_first_chunk::<4>() else { return };
    let (now, age) = (u64::from_be_bytes(*now), u32::from_be_bytes(*age));

    let legal = option.len() == 8 || (16..=40).contains(&option.len());
    let Some(cookie) = Cookie::read(option) else { return assert!(!legal) };
    assert!(legal);
    let cookies = Cookies::new(secret, &[]);
    let (state, handed_out) = cookies.check(client, cookie, now);
    assert_eq!(state == CookieState::ClientOnly, option.len() == 8);
    assert_eq!(handed_out[..8], option[..8], "the client cookie comes back");
    let made = u32::from_be_bytes([handed_out[12], handed_out[13], handed_out[14], handed_out[15]]);
    match state {
        // Only seeds have one, nobody finds it by trying. An old one has been made anew.
        CookieState::Valid => {
            let kept = (now as u32).wrapping_sub(made);
            assert!(option.len() == 24 && (kept <= LIFETIME / 2 || kept >= AHEAD.wrapping_neg()), "{kept}");
        }
        CookieState::ClientOnly | CookieState::Invalid => assert_eq!(made, now as u32),
    }
    if state == CookieState::Invalid {
        assert_ne!(&handed_out[..], option);
    }

    // At any later or earlier time.
    let then = u64::from(made.wrapping_add(age));
    let good = age <= LIFETIME || age >= AHEAD.wrapping_neg();
    let judge = |cookies: &Cookies, client, option: &[u8]| {
        let cookie = Cookie::read(option).expect("its length is legal");
        cookies.check(client, cookie, then)
    };
    let expected = |good| if good { CookieState::Valid } else { CookieState::Invalid };
    let (state, again) = judge(&cookies, client, &handed_out);
    assert_eq!(state, expected(good), "made {made}, age {age}");
    // It comes back as it was while it is young (or of a clock that is ahead).
    assert_eq!(again == handed_out, good && (age <= LIFETIME / 2 || age > i32::MAX as u32), "age {age}");

    let same_client = client.to_canonical() == other_client.to_canonical();
    assert_eq!(judge(&cookies, other_client, &handed_out).0, expected(good && same_client));
    let same_secret = secret == other_secret;
    assert_eq!(judge(&Cookies::new(other_secret, &[]), client, &handed_out).0, expected(good && same_secret));
    let rolled = Cookies::new(other_secret, &[*secret]);
    assert_eq!(judge(&rolled, client, &handed_out).0, expected(good), "the secret before");
    let mut changed = handed_out;
    changed[age as usize % 24] ^= 1 << (now % 8);
    if changed[12..16] == handed_out[12..16] {
        assert_eq!(judge(&cookies, client, &changed).0, CookieState::Invalid, "{changed:02x?}");
    }
});

fn address(input: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (kind, rest) = input.split_first()?;
    match kind % 3 {
        0 => rest.split_first_chunk::<4>().map(|(octets, rest)| (Ipv4Addr::from(*octets).into(), rest)),
        1 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            Some((Ipv4Addr::from(*octets).to_ipv6_mapped().into(), rest))
        }
        _ => rest.split_first_chunk::<16>().map(|(octets, rest)| (Ipv6Addr::from(*octets).into(), rest)),
    }
}
