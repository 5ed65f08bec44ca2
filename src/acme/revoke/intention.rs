//! What is kept of a revocation until the CA has decided: changes of the versions of a certificate, without store or
//! network.

use crate::acme::certificate::{Certificate, Revoked, Revoking};
use crate::acme::order::attempt::key_of;
use crate::acme::secret::Secret;
use crate::api::{NewRevocation, RevocationReason, RevokedBy};
use crate::store::{Body, Document, Put, UpdateError};
use crate::zone::Timestamp;

/// Keeps what is about to be asked of the CA, and that the key is not to be used again, if that is so.
pub fn begin(kept: &mut [Certificate], asked: &Certificate, wanted: &NewRevocation, now: Timestamp) -> Revoking {
    let NewRevocation { reason, by, reissue, .. } = *wanted;
    let is_compromised = reason == RevocationReason::KeyCompromise;
    let same = kept.iter().find(|kept| kept.version == asked.version);
    // A CA may block a key that has asked for a revocation: Let's Encrypt does.
    let was_good = same.is_some_and(|kept| !kept.compromised || kept.revoking.is_some_and(|before| before.spends_key));
    let spends_key = by == RevokedBy::Key && !is_compromised && was_good;
    let revoking = Revoking { since: now, reason, by, reissue, spends_key };
    for kept in kept {
        if kept.version == asked.version {
            kept.revoking = Some(revoking);
        }
        kept.compromised |= (is_compromised || spends_key) && kept.private_key == asked.private_key;
    }
    revoking
}

/// Forgets what was asked for, unless something else is asked for by now. A key that others know stays known to them.
pub fn give_up(kept: &mut [Certificate], asked: &Certificate, wanted: &Revoking) {
    let same = kept.iter_mut().find(|kept| kept.version == asked.version && kept.revoking == Some(*wanted));
    let Some(same) = same else { return };
    same.revoking = None;
    if wanted.spends_key && !kept.iter().any(|kept| gives_away(kept, &asked.private_key)) {
        for kept in kept.iter_mut().filter(|kept| kept.private_key == asked.private_key) {
            kept.compromised = false;
        }
    }
}

/// Whether others know the key, or the CA may block it, for what was asked for about this version.
fn gives_away(kept: &Certificate, key: &Secret) -> bool {
    let is_known = |reason: RevocationReason| reason == RevocationReason::KeyCompromise;
    let was = kept.revoked.is_some_and(|revoked| is_known(revoked.reason));
    let is = kept.revoking.is_some_and(|asked| is_known(asked.reason) || asked.by == RevokedBy::Key);
    kept.private_key == *key && (was || is)
}

/// Keeps what became of it, unless `known` says the same. Something else that is asked for by now stays.
pub fn end(kept: &mut Certificate, wanted: &Revoking, known: Option<Revoked>, now: Timestamp) {
    let (at, reason) = known.map_or((now, wanted.reason), |known| (known.at, known.reason));
    let reissue = wanted.reissue || kept.revoked.is_some_and(|known| known.reissue);
    kept.revoked = Some(Revoked { at, reason, reissue });
    kept.revoking = kept.revoking.filter(|other| other != wanted);
}

/// Of all certificates that are kept, those that are to be revoked and have a name that is not configured, with the name
/// and what was asked for. What has expired needs no revocation.
pub fn left_behind(
    documents: &[(String, Body)],
    is_configured: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Vec<(&str, Certificate, Revoking)> {
    let mut found = Vec::new();
    for (key, text) in documents {
        let Some((name, _)) = key.rsplit_once('/').filter(|(name, _)| !is_configured(name)) else { continue };
        let Ok(kept) = serde_json::from_str::<Certificate>(text) else { continue };
        if let Some(wanted) = kept.revoking.filter(|_| now < kept.not_after) {
            found.push((name, kept, wanted));
        }
    }
    found
}

/// The documents of those versions that this changes, and what it returns.
pub fn changed<T>(
    name: &str,
    mut versions: Vec<Certificate>,
    change: impl FnOnce(&mut [Certificate]) -> T,
) -> Result<(Vec<Put>, T), UpdateError> {
    let before = versions.clone();
    let result = change(&mut versions);
    let mut documents = Vec::new();
    for (kept, _) in versions.iter().zip(&before).filter(|(kept, before)| kept != before) {
        documents.push((Document::Certificate, key_of(name, kept.version), Some(Body::of(kept)?)));
    }
    Ok((documents, result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::certificate::tests::{NOW, issued};

    /// Two versions with one key, and a third with another, the newest first.
    fn three() -> Vec<Certificate> {
        let version = |version, key: &str| Certificate {
            version,
            private_key: Secret::new(key.into()),
            ..issued(NOW, NOW + 1000)
        };
        vec![version(3, "other"), version(2, "shared"), version(1, "shared")]
    }

    fn by_key() -> NewRevocation {
        NewRevocation { by: RevokedBy::Key, ..NewRevocation::default() }
    }

    fn compromised(kept: &[Certificate]) -> Vec<bool> {
        kept.iter().map(|kept| kept.compromised).collect()
    }

    #[test]
    fn a_refused_revocation_gives_the_key_back_that_only_it_has_spent() {
        let mut kept = three();
        let asked = kept[1].clone();
        let wanted = begin(&mut kept, &asked, &by_key(), NOW);
        assert_eq!(compromised(&kept), [false, true, true]);
        give_up(&mut kept, &asked, &wanted);
        assert_eq!(kept, three());
    }

    #[test]
    fn a_late_answer_does_not_undo_what_was_asked_for_since() {
        let leak = NewRevocation { reason: RevocationReason::KeyCompromise, ..NewRevocation::default() };
        let mut kept = three();
        let asked = kept[1].clone();
        let old = begin(&mut kept, &asked, &by_key(), NOW);
        let new = begin(&mut kept, &asked, &leak, NOW + 1);
        let before = kept.clone();
        give_up(&mut kept, &asked, &old);
        assert_eq!(kept, before);
        end(&mut kept[1], &old, None, NOW + 2);
        assert_eq!((kept[1].revoking, kept[1].revoked.is_some()), (Some(new), true));
        end(&mut kept[1], &new, None, NOW + 3);
        assert_eq!(kept[1].revoking, None);
    }

    #[test]
    fn what_is_to_be_revoked_and_not_configured_any_more_is_found() {
        let mut kept = three();
        let asked = kept[1].clone();
        let wanted = begin(&mut kept, &asked, &NewRevocation::default(), NOW);
        let document = |kept: &Certificate| (key_of("gone", kept.version), Body::of(kept).unwrap());
        let documents: Vec<_> = kept.iter().map(document).collect();
        assert_eq!(left_behind(&documents, |_| false, NOW), [("gone", kept[1].clone(), wanted)]);
        assert!(left_behind(&documents, |name| name == "gone", NOW).is_empty());
        assert!(left_behind(&documents, |_| false, NOW + 1000).is_empty());
    }

    #[test]
    fn a_key_that_another_version_gives_away_stays_known() {
        let leak = NewRevocation { reason: RevocationReason::KeyCompromise, ..NewRevocation::default() };
        for (other, ended) in [(leak.clone(), false), (leak, true), (by_key(), false)] {
            let mut kept = three();
            let asked = [1, 2].map(|at: usize| kept[at].clone());
            let wanted = begin(&mut kept, &asked[0], &by_key(), NOW);
            let second = begin(&mut kept, &asked[1], &other, NOW);
            if ended {
                end(&mut kept[2], &second, None, NOW);
            }
            give_up(&mut kept, &asked[0], &wanted);
            assert_eq!((kept[1].revoking, compromised(&kept)), (None, vec![false, true, true]), "{other:?} {ended}");
        }
    }
}
