//! What the benchmarks share: the same names and values every time, stores filled with them, and the meters.

// No benchmark uses all of it.
#![allow(dead_code)]

pub mod fill;
pub mod labels;
pub mod meter;

/// The middle of the samples; of an even number, the lower of the two in the middle.
pub fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len().saturating_sub(1) / 2).copied()
}
