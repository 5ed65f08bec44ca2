//! What several fuzz targets need.

pub mod house;
pub mod judge;
pub mod place;
pub mod world;
