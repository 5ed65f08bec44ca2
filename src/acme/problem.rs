//! What an error of a CA means: who can do something about it, and in which words to say it.

/// Who can do something about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The same request may succeed later.
    Later,
    /// This CA does not issue this certificate, or cannot be reached: another one may.
    Elsewhere,
}
