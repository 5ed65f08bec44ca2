//! When the CA wants a certificate to be renewed (RFC 9773): how it is asked, what it says, and what is kept of that.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::CertificateIdentifier;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::Pem;

use crate::acme::ca::problem::plain;
use crate::acme::certificate::Certificate;
use crate::acme::pause::{DAY, back_off, share_of};
use crate::zone::Timestamp;

/// The CA is asked at least twice a day, whatever it says, and never more than once a minute.
pub const LONGEST_SILENCE: u64 = DAY / 2;
const SHORTEST_SILENCE: u64 = 60;
/// When to ask again if the CA does not say (RFC 9773 section 4.3.3).
const USUAL_SILENCE: u64 = 6 * 60 * 60;

/// What is kept of the CA's words about one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Renewal {
    /// Which version of the certificate this is about.
    pub version: u64,
    /// As the CA said last.
    pub window: Option<Window>,
    /// A random moment in the window: it stays until the window changes.
    pub moment: Option<Timestamp>,
    /// Where the CA explains its window.
    pub explanation: Option<String>,
    pub asked: Option<Timestamp>,
    pub ask_again: Timestamp,
    /// How often in a row the CA did not say it.
    pub failures: u32,
    /// Why it did not say it the last time.
    pub problem: Option<String>,
    /// Whoever gets a new certificate before then is early.
    pub early_until: Timestamp,
    /// The certificate was made early, because the CA asked for that. It is not made again at once: see
    /// [`Renewal::moment_for`].
    pub hurried: bool,
    /// The CA does not take this certificate for one that an order can replace.
    pub irreplaceable: bool,
    /// How many orders that name this certificate the CA has refused without a word about that.
    pub refusals: u32,
}

/// `suggestedWindow` (RFC 9773 section 4.2). The end is after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// What a CA answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Window {
        window: Window,
        explanation: Option<String>,
    },
    /// It does not take part.
    NoRenewalInfo,
}

/// What the log should tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The CA suggests another window than before, or the first one.
    Window { window: Window, moment: Timestamp },
    /// The CA explains its window in a document.
    Explanation(String),
    /// The CA did not say it, in other words than before.
    Problem(String),
}

/// The certificate as the CA knows it (RFC 9773 section 4.1). Why there is no such name, in words.
pub fn identifier(chain: &str) -> Result<CertificateIdentifier<'static>, String> {
    let leaf = Pem::iter_from_buffer(chain.as_bytes()).next().ok_or("there is no certificate")?;
    let leaf = leaf.map_err(|error| error.to_string())?;
    let leaf = leaf.parse_x509().map_err(|error| error.to_string())?;
    let authority = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
        _ => None,
    });
    let authority = authority.ok_or("the certificate does not name its issuer's key")?;
    Ok(CertificateIdentifier {
        authority_key_identifier: Cow::Owned(URL_SAFE_NO_PAD.encode(authority.0)),
        // As in the certificate: with the octet in front that makes it a positive number.
        serial: Cow::Owned(URL_SAFE_NO_PAD.encode(leaf.raw_serial())),
    })
}

/// The page of the CA about a certificate (RFC 9773 section 4.1).
pub fn page(renewal_info: &str, certificate: &CertificateIdentifier<'_>) -> String {
    format!("{}/{certificate}", renewal_info.trim_end_matches('/'))
}

/// Reads the page (RFC 9773 section 4.2).
pub fn read(body: &[u8]) -> Result<Answer, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        suggested_window: Suggested,
        #[serde(rename = "explanationURL")]
        explanation_url: Option<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Suggested {
        start: String,
        end: String,
    }
    let page: Page =
        serde_json::from_slice(body).map_err(|error| format!("it cannot be read: {}", plain(&error.to_string())))?;
    let moment = |text: &str| {
        let no_date = |error: jiff::Error| plain(&format!("`{text}` is no date: {error}"));
        let moment = text.parse::<jiff::Timestamp>().map_err(no_date)?;
        u64::try_from(moment.as_second()).map_err(|_| format!("`{text}` is before 1970"))
    };
    let Suggested { start, end } = &page.suggested_window;
    let window = Window { start: moment(start)?, end: moment(end)? };
    if window.end <= window.start {
        return Err(format!("its window from {start} to {end} is empty"));
    }
    // For people: whatever else it is, it is not an address.
    let explanation = page.explanation_url.and_then(|url| url.as_str().map(plain));
    Ok(Answer::Window { window, explanation })
}

impl Renewal {
    /// Nothing heard yet.
    pub fn of(certificate: &Certificate) -> Renewal {
        let left = certificate.not_after.saturating_sub(certificate.issued_at);
        Renewal {
            version: certificate.version,
            early_until: certificate.issued_at.saturating_add(left / 3),
            ..Renewal::default()
        }
    }

    /// What is known of this certificate in the beginning, when it takes the place of the one that `self` is about.
    pub fn next(&self, certificate: &Certificate) -> Renewal {
        let now = certificate.issued_at;
        let hurried = now < self.early_until && self.moment.is_some_and(|moment| moment <= now);
        Renewal { hurried, ..Renewal::of(certificate) }
    }

    /// Takes in what the CA said, or why it said nothing. `retry_at`: when it wants to be asked again; `random` for the
    /// moment in the window, and so that not everybody comes back at once.
    pub fn hear(
        &mut self,
        answer: Result<Answer, String>,
        retry_at: Option<Timestamp>,
        now: Timestamp,
        random: u64,
    ) -> Vec<News> {
        let mut news = Vec::new();
        self.asked = Some(now);
        let mut silence = retry_at.map(|at| at.saturating_sub(now));
        match answer {
            Ok(Answer::Window { window, explanation }) => {
                self.failures = 0;
                self.problem = None;
                if self.window != Some(window) || self.moment.is_none() {
                    let moment = window.start + share_of(window.end - window.start, random);
                    self.window = Some(window);
                    self.moment = Some(moment);
                    news.push(News::Window { window, moment });
                }
                if explanation != self.explanation {
                    news.extend(explanation.clone().map(News::Explanation));
                    self.explanation = explanation;
                }
            }
            Ok(Answer::NoRenewalInfo) => {
                let Renewal { version, early_until, hurried, irreplaceable, .. } = *self;
                *self =
                    Renewal { version, early_until, hurried, irreplaceable, asked: Some(now), ..Renewal::default() };
                silence = Some(LONGEST_SILENCE);
            }
            // What was heard before holds.
            Err(problem) => {
                self.failures = self.failures.saturating_add(1);
                let wait = back_off(self.failures, (random >> 32) as u32).min(USUAL_SILENCE);
                silence = Some(silence.unwrap_or(0).max(wait));
                if self.problem.as_ref() != Some(&problem) {
                    news.push(News::Problem(problem.clone()));
                    self.problem = Some(problem);
                }
            }
        }
        let silence = silence.unwrap_or(USUAL_SILENCE).max(SHORTEST_SILENCE);
        let spread = share_of(silence / 10, random.rotate_left(32));
        self.ask_again = now + (silence.saturating_add(spread)).min(LONGEST_SILENCE);
        news
    }

    /// When the CA wants this certificate to be renewed.
    ///
    /// A certificate that was made early on the CA's word is not made again at once on such a word: not within a day,
    /// or a tenth of its life; and not at all for a window that begins before the certificate does, which is one that
    /// the CA forgot to change. Else a mistake of the CA would be orders without end. One that we had revoked is made
    /// again whenever the CA wants.
    pub fn moment_for(&self, certificate: &Certificate) -> Option<Timestamp> {
        let (moment, window) = (self.moment?, self.window?);
        if self.version != certificate.version {
            return None;
        }
        if !self.hurried || certificate.revoked.is_some() {
            return Some(moment);
        }
        let left = certificate.not_after.saturating_sub(certificate.issued_at);
        let earliest = certificate.issued_at + (left / 10).min(DAY);
        (window.start >= certificate.not_before).then_some(moment.max(earliest))
    }

    /// Whether the CA suggests to renew the certificate now.
    pub fn suggests(&self, now: Timestamp, certificate: &Certificate) -> bool {
        self.version == certificate.version && self.window.is_some_and(|window| window.start <= now && now < window.end)
    }

    /// When to ask the CA about this certificate; 0: at once.
    pub fn ask_at(renewal: Option<&Renewal>, certificate: &Certificate) -> Timestamp {
        match renewal {
            Some(renewal) if renewal.version == certificate.version && !renewal.is_outdated(certificate) => {
                renewal.ask_again
            }
            _ => 0,
        }
    }

    /// Whether the CA was asked for the last time before it revoked the certificate.
    fn is_outdated(&self, certificate: &Certificate) -> bool {
        certificate.revoked.is_some_and(|revoked| self.asked.is_none_or(|asked| asked <= revoked.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::certificate::Revoked;
    use crate::acme::certificate::tests::issued;

    const NOW: Timestamp = 1_800_000_000;
    const HOUR: u64 = 60 * 60;
    /// A half of all that is random.
    const HALF: u64 = 1 << 63;

    fn window(start: Timestamp, end: Timestamp) -> Answer {
        Answer::Window { window: Window { start, end }, explanation: None }
    }

    #[test]
    fn the_certificate_of_the_rfc_has_the_name_of_the_rfc_rfc9773_4_1() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut issuer = rcgen::CertificateParams::default();
        let authority = "69885B6B87464041E1B37B847BA0AE2CDE01C8D4";
        let octets = (0..20).map(|at| u8::from_str_radix(&authority[2 * at..2 * at + 2], 16).unwrap()).collect();
        issuer.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(octets);
        let issuer = rcgen::Issuer::new(issuer, &key);
        let mut params = rcgen::CertificateParams::new(["example.com".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(vec![0x00, 0x87, 0x65, 0x43, 0x21].into());
        let chain = params.signed_by(&key, &issuer).unwrap().pem();

        let found = identifier(&chain).unwrap();
        assert_eq!(found.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        for base in ["https://ca.test/ari", "https://ca.test/ari/"] {
            assert_eq!(page(base, &found), "https://ca.test/ari/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        }

        params.use_authority_key_identifier_extension = false;
        let nameless = identifier(&params.signed_by(&key, &issuer).unwrap().pem());
        assert_eq!(nameless.unwrap_err(), "the certificate does not name its issuer's key");
        assert!(identifier("").is_err());
    }

    #[test]
    fn a_window_is_read_and_what_is_none_is_refused_rfc9773_4_2() {
        let page = br#"{"suggestedWindow":{"start":"2025-01-02T04:00:00Z","end":"2025-01-03T05:00:00.5+01:00"},
                        "explanationURL":"https://acme.example.com/docs/ari","more":1}"#;
        let expected = Answer::Window {
            window: Window { start: 1_735_790_400, end: 1_735_876_800 },
            explanation: Some("https://acme.example.com/docs/ari".into()),
        };
        assert_eq!(read(page), Ok(expected));
        let refused = |start: &str, end: &str| {
            read(format!(r#"{{"suggestedWindow":{{"start":"{start}","end":"{end}"}}}}"#).as_bytes()).unwrap_err()
        };
        let (early, late) = ("2025-01-02T04:00:00Z", "2025-01-03T04:00:00Z");
        assert!(refused(late, early).contains("empty") && refused(early, early).contains("empty"));
        assert!(refused("tomorrow", late).contains("`tomorrow` is no date"));
        assert!(refused("1925-01-02T04:00:00Z", late).contains("before 1970"));
        for noise in ["", "null", "{}", "[]", "<html>", r#"{"suggestedWindow":{}}"#, r#"{"suggestedWindow":7}"#] {
            assert!(read(noise.as_bytes()).is_err(), "{noise}");
        }
    }

    #[test]
    fn the_moment_is_random_in_the_window_and_stays_while_the_window_stays() {
        let certificate = issued(NOW, NOW + 90 * DAY);
        let mut renewal = Renewal::of(&certificate);
        assert_eq!(renewal.moment_for(&certificate), None);
        let (start, end) = (NOW + 59 * DAY, NOW + 61 * DAY);
        let news = renewal.hear(Ok(window(start, end)), None, NOW, HALF);
        assert_eq!(news, [News::Window { window: Window { start, end }, moment: NOW + 60 * DAY }]);
        assert_eq!(renewal.moment_for(&certificate), Some(NOW + 60 * DAY));
        assert_eq!(renewal.hear(Ok(window(start, end)), None, NOW + HOUR, 0), []);
        assert_eq!(renewal.moment_for(&certificate), Some(NOW + 60 * DAY));
        renewal.hear(Ok(window(start, end - DAY)), None, NOW + HOUR, u64::MAX);
        assert_eq!(renewal.moment_for(&certificate), Some(NOW + 60 * DAY - 1));
        let other = Certificate { version: 2, ..certificate };
        assert_eq!(renewal.moment_for(&other), None);
    }

    #[test]
    fn a_moment_is_suggested_from_the_start_of_the_window_to_its_end_and_for_one_version_alone_rfc9773_4_2() {
        let certificate = issued(NOW, NOW + 90 * DAY);
        let mut renewal = Renewal::of(&certificate);
        assert!(!renewal.suggests(NOW, &certificate));
        let (start, end) = (NOW + 59 * DAY, NOW + 61 * DAY);
        renewal.hear(Ok(window(start, end)), None, NOW, HALF);
        let suggested = [start - 1, start, end - 1, end].map(|now| renewal.suggests(now, &certificate));
        assert_eq!(suggested, [false, true, true, false]);
        assert!(!renewal.suggests(start, &Certificate { version: 2, ..certificate }));
    }

    #[test]
    fn the_ca_is_asked_when_it_says_but_twice_a_day_at_least_rfc9773_4_3_2() {
        let certificate = issued(NOW, NOW + 90 * DAY);
        let answer = || Ok(window(NOW + 59 * DAY, NOW + 61 * DAY));
        let again = |retry_at: Option<Timestamp>, random: u64| {
            let mut renewal = Renewal::of(&certificate);
            renewal.hear(answer(), retry_at, NOW, random);
            renewal.ask_again - NOW
        };
        assert_eq!(again(None, 0), 6 * HOUR);
        assert_eq!(again(Some(NOW + 2 * HOUR), 0), 2 * HOUR);
        assert!((2 * HOUR..=2 * HOUR + 12 * 60).contains(&again(Some(NOW + 2 * HOUR), u64::MAX)));
        assert_eq!(again(Some(NOW + 9 * DAY), u64::MAX), 12 * HOUR);
        assert_eq!(again(Some(u64::MAX), u64::MAX), 12 * HOUR);
        assert_eq!(again(Some(NOW - 5), 0), 60);

        let mut renewal = Renewal::of(&certificate);
        assert_eq!(Renewal::ask_at(Some(&renewal), &certificate), 0);
        assert_eq!(Renewal::ask_at(None, &certificate), 0);
        renewal.hear(answer(), None, NOW, 0);
        assert_eq!(Renewal::ask_at(Some(&renewal), &certificate), NOW + 6 * HOUR);
        let next = Certificate { version: 2, ..certificate.clone() };
        assert_eq!(Renewal::ask_at(Some(&renewal), &next), 0);
    }

    #[test]
    fn what_was_heard_holds_when_the_ca_says_nothing_more() {
        let certificate = issued(NOW, NOW + 90 * DAY);
        let mut renewal = Renewal::of(&certificate);
        renewal.hear(Ok(window(NOW + 59 * DAY, NOW + 61 * DAY)), None, NOW, HALF);
        let told = renewal.hear(Err("no".into()), None, NOW, 0);
        assert_eq!(told, [News::Problem("no".into())]);
        assert_eq!(renewal.ask_again, NOW + 60);
        assert_eq!(renewal.hear(Err("no".into()), None, NOW, 0), []);
        assert_eq!(renewal.ask_again, NOW + 10 * 60);
        renewal.hear(Err("no".into()), Some(NOW + 2 * HOUR), NOW, 0);
        assert_eq!(renewal.ask_again, NOW + 2 * HOUR);
        for _ in 0..9 {
            renewal.hear(Err("no".into()), Some(NOW + 90 * DAY), NOW, u64::MAX);
            assert!(renewal.ask_again <= NOW + 12 * HOUR);
        }
        assert_eq!(renewal.moment_for(&certificate), Some(NOW + 60 * DAY));
        renewal.hear(Ok(Answer::NoRenewalInfo), None, NOW, 0);
        assert_eq!(renewal.moment_for(&certificate), None);
        assert_eq!((renewal.ask_again, renewal.problem), (NOW + 12 * HOUR, None));
    }

    #[test]
    fn an_explanation_is_told_once() {
        let certificate = issued(NOW, NOW + 90 * DAY);
        let mut renewal = Renewal::of(&certificate);
        let explained = || {
            let window = Window { start: NOW - HOUR, end: NOW };
            Ok(Answer::Window { window, explanation: Some("https://ca.test/incident".into()) })
        };
        let news = renewal.hear(explained(), None, NOW, 0);
        assert!(news.contains(&News::Explanation("https://ca.test/incident".into())), "{news:?}");
        assert_eq!(renewal.hear(explained(), None, NOW, 0), []);
    }

    /// A CA that goes on saying "now" of every new certificate.
    #[test]
    fn a_window_in_the_past_means_now_once_and_then_not_before_tomorrow() {
        let first = issued(NOW - 10 * DAY, NOW + 80 * DAY);
        let mut renewal = Renewal::of(&first);
        renewal.hear(Ok(window(NOW - HOUR, NOW - 1)), None, NOW, HALF);
        assert!(renewal.moment_for(&first).unwrap() <= NOW);

        let second = Certificate { version: 2, ..issued(NOW + 60, NOW + 60 + 90 * DAY) };
        let mut renewal = renewal.next(&second);
        assert!(renewal.hurried);
        // The old window, of a CA that forgot to change it, and one that is new.
        renewal.hear(Ok(window(NOW - HOUR, NOW - 1)), None, NOW + 120, HALF);
        assert_eq!(renewal.moment_for(&second), None);
        renewal.hear(Ok(window(NOW + 61, NOW + 63)), None, NOW + 120, HALF);
        assert_eq!(renewal.moment_for(&second), Some(second.issued_at + DAY));

        // Who waits until it is time is not in a hurry.
        let third = Certificate { version: 3, ..issued(NOW + 61 * DAY, NOW + 151 * DAY) };
        assert!(!renewal.next(&third).hurried);
    }

    #[test]
    fn a_certificate_that_is_revoked_is_asked_about_at_once_and_renewed_when_the_ca_wants_rfc9773_4_2() {
        let mut certificate = issued(NOW - 30 * DAY, NOW + 60 * DAY);
        let mut renewal = Renewal::of(&certificate);
        renewal.hear(Ok(window(NOW + DAY, NOW + 2 * DAY)), None, NOW, HALF);
        renewal.hurried = true;
        assert!(Renewal::ask_at(Some(&renewal), &certificate) > NOW);
        let reason = crate::api::RevocationReason::Superseded;
        certificate.revoked = Some(Revoked { at: NOW + HOUR, reason, reissue: false });
        assert_eq!(Renewal::ask_at(Some(&renewal), &certificate), 0);

        // Once heard, a failure or a window, it waits as ever.
        renewal.hear(Err("busy".into()), None, NOW + HOUR + 1, HALF);
        assert!(Renewal::ask_at(Some(&renewal), &certificate) > NOW + HOUR + 1);
        let past = (NOW - 40 * DAY, NOW - 40 * DAY + 1);
        renewal.hear(Ok(window(past.0, past.1)), None, NOW + 2 * HOUR, HALF);
        assert!(Renewal::ask_at(Some(&renewal), &certificate) > NOW + 2 * HOUR);
        // The one before it was renewed on the CA's word too, and this one is revoked all the same.
        assert!(renewal.moment_for(&certificate).is_some_and(|moment| moment < NOW));
        certificate.revoked = None;
        assert_eq!(renewal.moment_for(&certificate), None);
    }
}
