//! Many orders at once.
