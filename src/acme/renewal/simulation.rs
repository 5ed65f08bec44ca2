//! Ten years of renewals as the plan has them, with a clock that is only a number: for each lifetime, each kind of CA
//! and each kind of trouble, how much of its life a certificate has left in the worst case when the next one is there.

use super::*;
use crate::acme::certificate::tests::issued;
use crate::acme::pause::back_off_within;
use crate::acme::renewal::ari::{Answer, Window};
use crate::config::KeyType;

const START: Timestamp = 1_800_000_000;
const YEARS: u64 = 10;
const END: Timestamp = START + YEARS * 365 * DAY;
/// Let's Encrypt's `shortlived` lives 160 hours, called six days.
const LIFETIMES: [(&str, u64); 4] =
    [("90 d", 90 * DAY), ("64 d", 64 * DAY), ("45 d", 45 * DAY), ("6 d", 160 * 60 * 60)];
/// How long an order takes.
const WORK: u64 = 30;

/// What the CA says about renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ari {
    Absent,
    /// As Boulder: the usual moment, one hundredth of the life around it.
    Usual,
    /// Somewhere else in each answer, also far too late.
    Moving,
    /// As usual, but now and then a certificate is to be replaced at once.
    Incidents,
    /// Every certificate is always to be replaced at once.
    AlwaysPast,
    /// The first certificate's window is never changed.
    Stale,
    /// Not what the RFC says.
    Malformed,
}

const KINDS: [Ari; 7] =
    [Ari::Absent, Ari::Usual, Ari::Moving, Ari::Incidents, Ari::AlwaysPast, Ari::Stale, Ari::Malformed];

/// Random numbers that are the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// A CA, and when it is down.
struct SimulatedCa {
    life: u64,
    ari: Ari,
    /// Sorted, not overlapping.
    down: Vec<(Timestamp, Timestamp)>,
    random: Random,
}

impl SimulatedCa {
    fn new(life: u64, ari: Ari, has_failures: bool) -> SimulatedCa {
        let mut random = Random(life ^ (ari as u64) << 8 ^ u64::from(has_failures));
        let mut down = Vec::new();
        let length = if life < SHORT_LIFE { DAY / 2 } else { 2 * DAY };
        let mut at = START + 3 * DAY;
        while has_failures && at < END {
            at += 2 * DAY + share_of(28 * DAY, random.next());
            down.push((at, at + length));
            at += length;
        }
        SimulatedCa { life, ari, down, random }
    }

    fn is_down(&self, now: Timestamp) -> bool {
        let after = self.down.partition_point(|(_, end)| *end <= now);
        self.down.get(after).is_some_and(|(start, _)| *start <= now)
    }

    fn issue(&mut self, version: u64, now: Timestamp) -> Certificate {
        let serial = format!("{:016x}", self.random.next());
        // As Boulder does, for clocks that are late.
        let not_before = now - 60 * 60;
        Certificate { version, serial, issued_at: now, ..issued(not_before, not_before + self.life) }
    }

    fn renewal_info(&mut self, certificate: &Certificate, now: Timestamp) -> Result<Answer, String> {
        if self.is_down(now) {
            return Err("the CA cannot be reached".into());
        }
        let usual = renewal_time(certificate.not_before, certificate.not_after);
        let around = |at: Timestamp| (at - self.life / 100, at + self.life / 100);
        let (start, end) = match self.ari {
            Ari::Absent => return Ok(Answer::NoRenewalInfo),
            Ari::Malformed => return Err("it cannot be read".into()),
            Ari::Usual => around(usual),
            Ari::Moving => around(certificate.issued_at + share_of(self.life, self.random.next())),
            // A certificate in twenty, when it is a twentieth old.
            Ari::Incidents if certificate.version % 20 == 7 && now >= certificate.issued_at + self.life / 20 => {
                (now - 60 * 60, now - 60 * 60 + 1)
            }
            Ari::Incidents => around(usual),
            Ari::AlwaysPast => (now - 60 * 60, now - 60 * 60 + 1),
            Ari::Stale => around(START),
        };
        Ok(Answer::Window { window: Window { start, end }, explanation: None })
    }
}

#[derive(Debug)]
struct Outcome {
    renewals: u64,
    attempts: u64,
    /// Smallest share of life left at a renewal.
    least_left: f64,
    /// Longest time between two questions, seconds.
    longest_silence: u64,
}

/// What the running server does, with a clock that is moved to the next moment at which something is due.
fn simulate(life: u64, ari: Ari, has_failures: bool) -> Outcome {
    let mut ca = SimulatedCa::new(life, ari, has_failures);
    let mut random = Random(life + 1);
    let wanted = Wanted {
        names: vec!["a.test".into()],
        directories: vec!["https://ca.test/dir".into()],
        key_type: KeyType::default(),
    };
    let mut now = START;
    let mut certificate = ca.issue(1, now);
    let mut state = Issuance { current: Some(1), ..Issuance::default() };
    let mut outcome = Outcome { renewals: 0, attempts: 0, least_left: 1.0, longest_silence: 0 };
    let mut asked = now;
    while now < END {
        let plan = Plan::new(&state, Some(&certificate), &wanted, None);
        let due = plan.due(now);
        let ask = plan.ask(now).expect("the certificate in use has not expired");
        if ask <= now {
            outcome.longest_silence = outcome.longest_silence.max(now - asked);
            asked = now;
            let answer = ca.renewal_info(&certificate, now);
            let mut renewal = state.renewal.take().unwrap_or_else(|| Renewal::of(&certificate));
            if renewal.version != certificate.version {
                renewal = Renewal::of(&certificate);
            }
            renewal.hear(answer, Some(now + 6 * 60 * 60), now, random.next());
            assert!(renewal.ask_again > now);
            state.renewal = Some(renewal);
        } else if due <= now {
            outcome.attempts += 1;
            if ca.is_down(now) {
                let before = state.failure.take().map_or(0, |failure| failure.failures);
                let left = certificate.not_after.saturating_sub(now);
                let wait = back_off_within(Some(left), before + 1, random.next() as u32);
                let pause = Pause::after_failure(now, wait, None, Some(certificate.not_after));
                state.failure = Some(crate::acme::state::Failed {
                    at: now,
                    step: "order".into(),
                    message: "the CA cannot be reached".into(),
                    explanation: None,
                    failures: before + 1,
                    backed_off: before + 1,
                    next_attempt: pause.until,
                    cas: Vec::new(),
                });
            } else {
                now += WORK;
                let left = certificate.not_after.saturating_sub(now) as f64 / life as f64;
                outcome.least_left = outcome.least_left.min(left);
                outcome.renewals += 1;
                certificate = ca.issue(certificate.version + 1, now);
                let renewal = state.renewal.as_ref().map(|renewal| renewal.next(&certificate));
                state = Issuance { current: Some(certificate.version), renewal, ..Issuance::default() };
            }
        } else {
            now = due.min(ask);
        }
    }
    outcome
}

#[test]
fn ten_years_without_a_lapse_whatever_the_ca_says_rfc9773_4_2() {
    let mut table = format!(
        "{:>6} {:<11} {:<8} {:>8} {:>8} {:>10} {:>8}\n",
        "life", "ARI", "CA", "renewals", "attempts", "least left", "silence"
    );
    let mut bad = Vec::new();
    for (name, life) in LIFETIMES {
        for ari in KINDS {
            for has_failures in [false, true] {
                let outcome = simulate(life, ari, has_failures);
                let Outcome { renewals, attempts, least_left, longest_silence } = outcome;
                let down = if has_failures { "falters" } else { "is up" };
                let ari_name = format!("{ari:?}");
                table += &format!(
                    "{name:>6} {ari_name:<11} {down:<8} {renewals:>8} {attempts:>8} {:>8.1} % {:>6.1} h\n",
                    100.0 * least_left,
                    longest_silence as f64 / 3600.0,
                );
                let span = END - START;
                // At the earliest after so much of its life, if the CA does not want it otherwise.
                let usual = if life < SHORT_LIFE { life * 44 / 100 } else { life * 60 / 100 };
                let most = match ari {
                    Ari::Absent | Ari::Usual | Ari::Malformed => span / usual + 1,
                    Ari::Incidents => span / usual + span / usual / 19 + 2,
                    // Each that was not made early is made again once.
                    Ari::Stale => 2 * (span / usual + 1),
                    // A day, or a tenth of a short life, at least.
                    Ari::AlwaysPast => span / (life / 10 - life / 100).min(DAY),
                    // Wherever the window is: somewhere between now and the end.
                    Ari::Moving => 40 * span / life,
                };
                if least_left < 0.1 || renewals > most || longest_silence > DAY / 2 {
                    bad.push(format!("{name} {ari:?} {down}: {outcome:?}, at most {most} renewals"));
                }
            }
        }
    }
    println!("{table}");
    assert!(bad.is_empty(), "{table}\n{bad:#?}");
}
